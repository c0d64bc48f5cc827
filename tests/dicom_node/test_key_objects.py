"""Key objects are the slices with suspected fractures and the summary, and nothing where nothing is suspected."""

from dataclasses import replace
from io import BytesIO

import highdicom
from pydicom import dcmread

from dicom_node import codes
from dicom_node.contours import key_slices
from dicom_node.encode import encode
from dicom_node.key_objects import build_key_objects
from model.findings import Vertebra
from tests.dicom_node.necks import POSITIVE, built, content, findings_of
from training.synthesis.phantom_series import Geometry, SeriesForm, SeriesOptions

CONTEXT = POSITIVE.context()
SLICES = key_slices(CONTEXT.labels)


def read_back(context=CONTEXT):
    selection = build_key_objects(context, key_slices(context.labels))
    return highdicom.ko.KeyObjectSelectionDocument.from_dataset(dcmread(BytesIO(encode(selection))))


def test_it_selects_the_key_slices_of_suspected_levels_and_the_summary():
    expected = [CONTEXT.source_frame(SLICES[level].index).sop_instance_uid for level in POSITIVE.fractured]
    references = read_back().content.get_references()
    assert [item.referenced_sop_instance_uid for item in references] == [*expected, CONTEXT.uid("instance", "summary")]
    assert {item.ValueType for item in references} == {"IMAGE"}


def test_the_summary_that_it_names_is_the_one_that_is_sent():
    selection = read_back()
    (summary,) = (ds for ds in built(CONTEXT).values() if ds.Modality == "OT")
    study, series, instance = selection.resolve_reference(summary.SOPInstanceUID)
    assert (study, series, instance) == (summary.StudyInstanceUID, summary.SeriesInstanceUID, summary.SOPInstanceUID)


def test_it_is_titled_of_interest_and_says_what_and_that_nobody_verified_it():
    selection = read_back()
    assert selection.ConceptNameCodeSequence[0].CodeValue == codes.OF_INTEREST.value
    (said,) = content(selection, "Key Object Description")
    assert said.TextValue.startswith("Suspected fracture (probability): C2 (90%), C5 (90%). AI result, not verified.")
    assert CONTEXT.device.device_uid == content(selection, "Device Observer UID")[0].UID


def test_the_key_slices_of_a_multi_frame_source_are_frames():
    case = replace(POSITIVE, options=SeriesOptions(Geometry(orientation="HPL"), form=SeriesForm.ENHANCED))
    context = case.context()
    slices = key_slices(context.labels)
    frames = [item.referenced_frame_numbers for item in read_back(context).content.get_references()]
    assert frames == [*([slices[level].index + 1] for level in case.fractured), None]


def test_where_nothing_is_suspected_there_are_no_key_objects():
    assert build_key_objects(replace(CONTEXT, findings=findings_of(tuple(Vertebra))), SLICES) is None
