"""The result set as a whole: valid objects, the same bytes every time, the patient and study of the source."""

import datetime as dt
import warnings
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.valuerep import PersonName

from dicom_node import codes
from dicom_node.encode import encode
from dicom_node.reading import read_study
from dicom_node.result_context import ResultKind
from dicom_node.results import build_results
from model.findings import Vertebra
from tests.dicom_node.necks import (
    CASES,
    DEVICE,
    NEGATIVE,
    NOTHING_FOUND,
    POSITIVE,
    built,
    findings_of,
    with_headers,
    written,
)
from tests.peers import dciodvfy
from training.phantom_series import Geometry, SeriesForm, SeriesOptions

TOLERATED_WARNINGS = {
    # IHE AIR asks for it; Debian's dicom3tools knows Contributing Equipment without it
    "Attribute is not present in standard DICOM IOD - (0x0018,0x1002) UI Device UID",
    "Dicom dataset contains attributes not present in standard DICOM IOD - this is a Standard Extended SOP Class",
}

UNFOUND = NOTHING_FOUND.context()
HOSTILE = [
    "Doe^J\\ohn",
    "x" * 300,
    "line\nbreak\x00\x1b[31m",
    "<script>alert(1)</script>",
    "=^=^=^^^^^",
    "名前^太郎=\u200bé",
    "'; DROP TABLE study; --",
]


@pytest.mark.peer
@pytest.mark.parametrize("name", CASES)
def test_dciodvfy_has_nothing_against_any_object(name, tmp_path):
    for path in written(CASES[name].context(), tmp_path).values():
        verdict = dciodvfy(path)
        assert verdict.errors == ()
        assert {line.strip() for line in verdict.warnings} <= TOLERATED_WARNINGS


@pytest.mark.peer
@pytest.mark.parametrize("form", [SeriesForm.ENHANCED, SeriesForm.LEGACY_CONVERTED])
def test_dciodvfy_has_nothing_against_results_of_a_multi_frame_source(form, tmp_path):
    case = replace(POSITIVE, options=SeriesOptions(Geometry(orientation="HPL"), form=form))
    for path in written(case.context(), tmp_path).values():
        assert dciodvfy(path).errors == ()


def test_the_default_set_is_segmentation_report_narrative_summary():
    kinds = [result.kind for result in build_results(POSITIVE.context())]
    assert kinds == [ResultKind.SEGMENTATION, ResultKind.REPORT, ResultKind.NARRATIVE, ResultKind.SUMMARY]


def test_nothing_found_has_no_segmentation_but_everything_else():
    kinds = [result.kind for result in build_results(NOTHING_FOUND.context())]
    assert kinds == [ResultKind.REPORT, ResultKind.NARRATIVE, ResultKind.SUMMARY]


def test_building_again_later_gives_the_same_bytes(monkeypatch):
    first = [encode(result.dataset) for result in build_results(POSITIVE.context())]

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6, 7, 8, 9, 10, tz)

    for module in ("highdicom.base", "highdicom.base_content", "highdicom.sr.sop", "highdicom.sc.sop"):
        monkeypatch.setattr(f"{module}.datetime", SimpleNamespace(**{**vars(dt), "datetime": Later}))
    assert [encode(result.dataset) for result in build_results(POSITIVE.context())] == first


def test_another_model_software_or_input_makes_other_uids_and_another_time_does_not():
    context = POSITIVE.context()
    changed = [
        replace(context, bundle_sha256="f" * 64),
        replace(context, device=replace(DEVICE, software_version="9")),
        with_headers(context, [*context.series.headers[1:], context.series.headers[1]]),
    ]
    uids = {other.uid("instance", "report") for other in (context, *changed)}
    assert len(uids) == 4
    later = replace(context, analyzed_at=context.analyzed_at + dt.timedelta(days=1))
    assert later.uid("instance", "report") == context.uid("instance", "report")


def test_all_uids_of_a_result_set_differ_and_are_valid():
    context = POSITIVE.context()
    objects = built(context).values()
    uids = [uid for ds in objects for uid in (ds.SOPInstanceUID, ds.SeriesInstanceUID)]
    uids += [context.tracking_uid(level) for level in Vertebra]
    assert len(set(uids)) == len(uids)
    assert all(uid.is_valid and len(uid) <= 64 for uid in uids)


@pytest.mark.parametrize("name", CASES)
def test_every_object_belongs_to_the_patient_and_study_of_the_source(name, tmp_path):
    context = CASES[name].context()
    source = context.series.headers[0]
    for path in written(context, tmp_path).values():
        dataset = dcmread(path)
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyInstanceUID",
            "StudyID",
            "StudyDate",
            "StudyTime",
            "StudyDescription",
            "AccessionNumber",
            "ReferringPhysicianName",
        ):
            assert str(dataset[keyword].value or "") == str(source[keyword].value or ""), keyword
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID


def test_every_object_names_the_device_with_its_uid_once():
    for dataset in built(POSITIVE.context()).values():
        (ours,) = (
            item
            for item in dataset.ContributingEquipmentSequence
            if item.PurposeOfReferenceCodeSequence[0].CodeValue == codes.PROCESSING_EQUIPMENT.value
        )
        assert ours.DeviceUID == DEVICE.device_uid
        assert (ours.Manufacturer, ours.ManufacturerModelName, ours.SoftwareVersions) == (
            DEVICE.manufacturer,
            DEVICE.model_name,
            DEVICE.software_version,
        )


def test_series_are_numbered_and_described_the_same_in_every_study():
    described = {kind: (ds.SeriesNumber, ds.SeriesDescription) for kind, ds in built(NEGATIVE.context()).items()}
    assert described == {
        ResultKind.SEGMENTATION: (9701, "Segmentation - cspine 1.2.3 AI, not verified"),
        ResultKind.REPORT: (9702, "Report - cspine 1.2.3 AI, not verified"),
        ResultKind.NARRATIVE: (9703, "Narrative - cspine 1.2.3 AI, not verified"),
        ResultKind.SUMMARY: (9704, "Summary - cspine 1.2.3 AI, not verified"),
    }


def test_dates_and_times_are_those_of_the_analysis():
    for dataset in built(POSITIVE.context()).values():
        assert (dataset.ContentDate, dataset.ContentTime) == ("20260102", "030405.678900")
        assert (dataset.SeriesDate, dataset.InstanceCreationDate) == ("20260102", "20260102")


def test_a_source_with_a_time_zone_gets_its_results_in_that_zone():
    context = POSITIVE.context()
    headers = [header.copy() for header in context.series.headers]
    headers[0].TimezoneOffsetFromUTC = "-0930"
    for dataset in built(with_headers(context, headers)).values():
        assert (dataset.ContentDate, dataset.ContentTime) == ("20260101", "173405.678900")
        assert dataset.TimezoneOffsetFromUTC == "-0930"


def test_a_finding_without_a_mask_or_a_mask_without_a_finding_is_refused():
    context = POSITIVE.context()
    fewer = replace(context, findings=findings_of(tuple(Vertebra)[:6]))
    with pytest.raises(ValueError, match="C7"):
        build_results(fewer)
    empty = replace(context, labels=np.zeros_like(context.labels))
    with pytest.raises(ValueError, match="none"):
        build_results(empty)


@pytest.mark.parametrize("name", ["labels", "lesions", "activation"])
def test_a_mask_of_another_shape_or_type_is_refused(name):
    context = CASES["explained"].context()
    with pytest.raises(ValueError, match="shape"):
        replace(context, **{name: np.zeros((2, 3, 4), np.uint8)})
    with pytest.raises(ValueError, match="type float32"):
        replace(context, **{name: np.zeros(context.labels.shape, np.float32)})


@settings(max_examples=10, deadline=None)
@given(
    texts=st.fixed_dictionaries(
        {
            keyword: st.one_of(st.sampled_from(HOSTILE), st.text(max_size=80))
            for keyword in ("PatientName", "PatientID", "StudyDescription", "AccessionNumber", "Manufacturer")
        }
    )
)
def test_no_text_in_a_source_header_stops_a_result_or_gets_into_a_warning(texts):
    context = UNFOUND
    header = context.series.headers[0].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, text in texts.items():  # past pydicom's own check, as a parser would leave it
            header[keyword]._value = PersonName(text) if keyword == "PatientName" else text
    for dataset in built(with_headers(context, [header, *context.series.headers[1:]])).values():
        assert dcmread(BytesIO(encode(dataset))).StudyInstanceUID == header.StudyInstanceUID


@pytest.mark.peer
def test_results_of_a_real_neck_are_valid_and_belong_to_it(shared_data, tmp_path):
    paths = sorted((shared_data / "visible-human-female-neck").glob("*.dcm"))
    series = read_study(paths, tmp_path / "scratch").series
    hu, _ = series.to_standard()
    labels = np.zeros(hu.shape, np.uint8)
    middle = hu.shape[1] // 2, hu.shape[2] // 2
    for level in (Vertebra.C1, Vertebra.C2, Vertebra.C3):
        slices = slice(20 * level, 20 * level + 15)
        box = (slices, slice(middle[0] - 40, middle[0] + 40), slice(middle[1] - 40, middle[1] + 40))
        labels[box] = np.where(hu[box] > 200, level, 0)
    context = replace(
        UNFOUND,
        series=series,
        labels=series.mask_to_native(labels),
        findings=findings_of((Vertebra.C1, Vertebra.C2, Vertebra.C3), (Vertebra.C2,)),
    )
    for path in written(context, tmp_path).values():
        assert dciodvfy(path).errors == ()
        assert dcmread(path).PatientName == "Eve"


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
        "Manufacturer",
        "SpecificCharacterSet",
    ],
)
def test_a_missing_attribute_of_the_source_is_no_obstacle(keyword):
    context = POSITIVE.context()
    headers = [header.copy() for header in context.series.headers]
    for header in headers:
        delattr(header, keyword)
    for dataset in built(with_headers(context, headers)).values():
        assert encode(dataset)
