"""Our tables of attributes, SOP classes and transfer syntaxes say what pydicom's dictionaries say."""

import pytest
from pydicom import uid
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicom_node.allowed_attributes import COMMON_ATTRIBUTES, EMPTY_TYPE_2, FRAME_ATTRIBUTES, NESTED_ATTRIBUTES
from dicom_node.attributes import ATTRIBUTES
from dicom_node.instance_file import NEEDED_BESIDES
from dicom_node.sop_classes import LABEL_MAP_SEGMENTATION_STORAGE
from dicom_node.transfer_syntaxes import (
    DEFLATED_SYNTAX,
    DOCUMENT_CLASSES,
    ENCAPSULATED_SYNTAXES,
    LOSSY_SYNTAXES,
    NATIVE_SYNTAXES,
    RETURNED_CLASSES,
    SEGMENTATION_CLASSES,
    STORAGE_CLASSES,
    is_explicit,
)


@pytest.mark.parametrize("keyword", ATTRIBUTES)
def test_tag_and_vr_are_those_of_the_standard(keyword):
    attribute = ATTRIBUTES[keyword]
    assert attribute.tag == tag_for_keyword(keyword)
    assert attribute.vr == dictionary_VR(keyword).replace(" or SS", "")


def test_every_attribute_that_is_read_is_in_the_table():
    assert {*COMMON_ATTRIBUTES, *FRAME_ATTRIBUTES, *NESTED_ATTRIBUTES, *EMPTY_TYPE_2, *NEEDED_BESIDES} <= {*ATTRIBUTES}


def test_sop_classes_and_transfer_syntaxes_are_those_of_the_standard():
    assert (
        uid.CTImageStorage,
        uid.EnhancedCTImageStorage,
        uid.LegacyConvertedEnhancedCTImageStorage,
    ) == STORAGE_CLASSES
    assert (uid.SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE) == SEGMENTATION_CLASSES
    assert (
        uid.EnhancedSRStorage,
        uid.ComprehensiveSRStorage,
        uid.Comprehensive3DSRStorage,
        uid.KeyObjectSelectionDocumentStorage,
    ) == DOCUMENT_CLASSES
    assert (
        uid.SecondaryCaptureImageStorage,
        uid.EncapsulatedPDFStorage,
        uid.GrayscaleSoftcopyPresentationStateStorage,
    ) == RETURNED_CLASSES
    assert (uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K) == LOSSY_SYNTAXES
    assert (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian) == NATIVE_SYNTAXES
    assert uid.DeflatedExplicitVRLittleEndian == DEFLATED_SYNTAX
    assert (
        uid.RLELossless,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEGLSNearLossless,
        uid.JPEG2000Lossless,
        uid.JPEG2000,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
        uid.HTJ2K,
    ) == ENCAPSULATED_SYNTAXES
    for syntax in (*NATIVE_SYNTAXES, *ENCAPSULATED_SYNTAXES):
        assert is_explicit(syntax) is not uid.UID(syntax).is_implicit_VR
        assert uid.UID(syntax).is_encapsulated is (syntax in ENCAPSULATED_SYNTAXES)
