"""Documents and segmentations at the storage SCP: kept as they come, within their bounds, or of no use and not kept."""

import logging

import pytest
from pydicom.uid import (
    JPEG2000,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_context

from dicom_node.errors import InvalidInstance
from dicom_node.header import inspect
from dicom_node.part10 import FileMeta, read_file_meta
from dicom_node.scp import StoreStatus
from dicom_node.spool import Spool
from dicom_node.transfer_syntaxes import (
    CLASSES_WITHOUT_PIXELS,
    DOCUMENT_CLASSES,
    RETURNED_CLASSES,
    REVIEW_CLASSES,
    SEGMENTATION_CLASSES,
    max_bytes_of,
)
from tests.dicom_node.listening import Listening, listening
from tests.dicom_node.tiny_ct import CANARY, encode_data_set, make_ct
from tests.dicom_node.tiny_reviews import make_document, make_mask


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with listening(tmp_path_factory.mktemp("node")) as listener:
        yield listener


def send(node: Listening, *datasets) -> list[int]:
    contexts = [build_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets]
    assoc = AE(ae_title="PACS").associate("127.0.0.1", node.port, contexts, ae_title="CSPINE")
    assert assoc.is_established
    statuses = [assoc.send_c_store(dataset).Status for dataset in datasets]
    assoc.release()
    return statuses


def made(sop_class: str, number: int, syntax: str = ExplicitVRLittleEndian):
    make = make_document if sop_class in DOCUMENT_CLASSES else make_mask
    return make(number, sop_class=sop_class, syntax=syntax)


def test_every_class_of_reviews_is_kept_byte_for_byte_and_reported(node):
    sent = [made(sop_class, number) for number, sop_class in enumerate(REVIEW_CLASSES)]
    sent += [make_document(50, syntax=ImplicitVRLittleEndian), make_mask(51, syntax=RLELossless)]
    assert send(node, *sent) == [StoreStatus.SUCCESS] * len(sent)
    reported = {instance.header.sop_instance_uid: instance for instance in node.receipts.recorded}
    for dataset in sent:
        instance = reported[dataset.SOPInstanceUID]
        assert instance.header.modality == dataset.Modality
        with node.spool.open(instance.path) as file:
            read_file_meta(file)
            assert file.read() == encode_data_set(dataset)


def test_an_instance_of_no_use_is_answered_with_success_and_kept_nowhere(node, caplog):
    caplog.set_level(logging.INFO)
    ours, image = make_document(60), make_ct(61)
    before = node.stored(), len(node.receipts.recorded)
    node.receipts.useless = {ours.SOPInstanceUID}
    assert send(node, ours, ours, image) == [StoreStatus.SUCCESS] * 3
    node.receipts.useless = set()
    assert [instance.header.sop_instance_uid for instance in node.receipts.recorded[before[1] :]] == [
        image.SOPInstanceUID
    ]
    assert len(node.stored()) == len(before[0]) + 1
    assert node.incoming() == []
    assert "of no use here" in caplog.text
    assert CANARY not in caplog.text
    assert ours.SOPInstanceUID not in caplog.text


@pytest.mark.parametrize("sop_class", RETURNED_CLASSES, ids=str)
def test_of_the_other_classes_of_our_results_nothing_is_kept_whoever_made_it(node, sop_class):
    dataset = make_mask(65, sop_class=sop_class)
    if sop_class in CLASSES_WITHOUT_PIXELS:
        dataset = make_document(65, sop_class=sop_class)
    before = node.stored(), len(node.receipts.recorded)
    assert send(node, dataset, dataset) == [StoreStatus.SUCCESS] * 2
    assert (node.stored(), len(node.receipts.recorded)) == before
    assert node.incoming() == []


def test_a_document_with_pixels_and_a_mask_without_cannot_be_understood(node):
    document, mask, short = make_document(70), make_mask(71), make_mask(72)
    document.Rows, document.Columns, document.BitsAllocated, document.PixelData = 1, 2, 8, b"ab"
    document["PixelData"].VR = "OB"
    del mask.PixelData
    short.PixelData = short.PixelData[:-2]
    before = node.stored()
    assert send(node, document, mask, short) == [StoreStatus.CANNOT_UNDERSTAND] * 3
    assert node.stored() == before


def test_documents_come_native_and_masks_native_or_lossless(node):
    wanted = {
        (Comprehensive3DSRStorage, RLELossless): False,
        (SEGMENTATION_CLASSES[0], JPEGLSLossless): True,
        (SEGMENTATION_CLASSES[1], RLELossless): True,
        (SEGMENTATION_CLASSES[1], JPEG2000): False,
    }
    contexts = [build_context(*pair) for pair in wanted]
    assoc = AE(ae_title="PACS").associate("127.0.0.1", node.port, contexts, ae_title="CSPINE")
    accepted = {(str(context.abstract_syntax), context.transfer_syntax[0]) for context in assoc.accepted_contexts}
    assoc.release()
    assert accepted == {pair for pair, taken in wanted.items() if taken}


def test_without_reviews_their_classes_are_not_offered(tmp_path):
    with listening(tmp_path, reviews=False) as node:
        classes = REVIEW_CLASSES + RETURNED_CLASSES
        contexts = [build_context(sop_class, ExplicitVRLittleEndian) for sop_class in classes]
        assoc = AE(ae_title="PACS").associate("127.0.0.1", node.port, contexts, ae_title="CSPINE")
        assert assoc.accepted_contexts == []


@pytest.mark.parametrize("sop_class", REVIEW_CLASSES, ids=str)
def test_a_review_beyond_its_bound_is_refused_while_it_arrives(tmp_path, sop_class):
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    incoming = spool.receive(FileMeta(sop_class, "2.25.1", ExplicitVRLittleEndian, "PACS"))
    incoming.size_bytes = max_bytes_of(sop_class) - 1
    incoming.write(b"1")
    with pytest.raises(InvalidInstance, match="larger"):
        incoming.write(b"2")
    incoming.discard()


def test_the_header_says_whether_a_document_is_verified():
    document = make_document()
    assert inspect(encode_data_set(document), ExplicitVRLittleEndian).verified is False
    document.VerificationFlag = "VERIFIED"
    assert inspect(encode_data_set(document), ExplicitVRLittleEndian).verified is True
    assert inspect(encode_data_set(make_ct()), ExplicitVRLittleEndian).verified is False
