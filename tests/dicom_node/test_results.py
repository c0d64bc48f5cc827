"""The result set as a whole: valid objects, the same bytes every time, the patient and study of the source."""

import datetime as dt
import time
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
    EVERY_PROFILE,
    LIMITED,
    NOTHING_FOUND,
    POSITIVE,
    built,
    copied_headers,
    every_object,
    findings_of,
    with_headers,
    written,
)
from tests.peers import dciodvfy
from training.synthesis.phantom_series import Geometry, SeriesForm, SeriesOptions

UNFOUND = NOTHING_FOUND.context()
LIMITED_CONTEXT = LIMITED.context()
EVERYTHING = every_object(LIMITED_CONTEXT)
"""The objects of every profile of a neck with a suspected level."""
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
@pytest.mark.parametrize("form", [SeriesForm.ENHANCED, SeriesForm.LEGACY_CONVERTED])
def test_dciodvfy_has_nothing_against_results_of_a_multi_frame_source(form, tmp_path):
    case = replace(LIMITED, options=SeriesOptions(Geometry(orientation="HPL"), form=form))
    for variant, dataset in every_object(case.context()).items():
        path = tmp_path / f"{variant}.dcm"
        path.write_bytes(encode(dataset))
        assert dciodvfy(path).errors == (), variant


def test_the_default_set_is_segmentation_report_narrative_summary():
    kinds = [result.kind for result in build_results(POSITIVE.context())]
    assert kinds == [ResultKind.SEGMENTATION, ResultKind.REPORT, ResultKind.NARRATIVE, ResultKind.SUMMARY]


def test_nothing_found_has_no_segmentation_but_everything_else():
    kinds = [result.kind for result in build_results(NOTHING_FOUND.context())]
    assert kinds == [ResultKind.REPORT, ResultKind.NARRATIVE, ResultKind.SUMMARY]


def test_building_again_later_gives_the_same_bytes(monkeypatch):
    first = {variant: encode(dataset) for variant, dataset in every_object(LIMITED.context()).items()}

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6, 7, 8, 9, 10, tz)

    modules = ("base", "base_content", "sr.sop", "sc.sop", "pr.content")
    for module in modules:
        monkeypatch.setattr(f"highdicom.{module}.datetime", SimpleNamespace(**{**vars(dt), "datetime": Later}))
    monkeypatch.setattr("PIL.PdfImagePlugin.time", SimpleNamespace(gmtime=lambda: time.gmtime(1_900_000_000)))
    assert {variant: encode(dataset) for variant, dataset in every_object(LIMITED.context()).items()} == first


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
    context = LIMITED.context()
    uids = [uid for ds in EVERYTHING.values() for uid in (ds.SOPInstanceUID, ds.SeriesInstanceUID)]
    uids += [context.tracking_uid(level) for level in Vertebra]
    assert len(set(uids)) == len(uids)
    assert all(uid.is_valid and len(uid) <= 64 for uid in uids)


@pytest.mark.parametrize("case", [LIMITED, NOTHING_FOUND], ids=["limited", "nothing found"])
def test_every_object_belongs_to_the_patient_and_study_of_the_source(case):
    source = case.context().series.headers[0]
    objects = EVERYTHING if case is LIMITED else every_object(UNFOUND)
    for dataset in (dcmread(BytesIO(encode(dataset))) for dataset in objects.values()):
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
    for dataset in EVERYTHING.values():
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
    described = {
        variant: (int(ds.SeriesNumber), str(ds.SeriesDescription).removesuffix(" - cspine 1.2.3 AI, not verified"))
        for variant, ds in EVERYTHING.items()
    }
    assert described == {
        "segmentation": (9701, "Segmentation"),
        "report": (9702, "Report"),
        "report-labelmap": (9702, "Report"),
        "narrative": (9703, "Narrative"),
        "summary": (9704, "Summary"),
        "labelmap": (9705, "Label map"),
        "air-report": (9706, "AIR report"),
        "air-report-labelmap": (9706, "AIR report"),
        "arrows": (9707, "Arrows"),
        "pdf": (9708, "Summary PDF"),
        "presentation-state": (9709, "Presentation state"),
        "key-objects": (9710, "Key images"),
    }


def test_dates_and_times_are_those_of_the_analysis():
    for dataset in EVERYTHING.values():
        moments = {
            (dataset[f"{prefix}Date"].value, dataset[f"{prefix}Time"].value)
            for prefix in ("Content", "PresentationCreation")
            if f"{prefix}Date" in dataset
        }
        assert moments == {("20260102", "030405.678900")}
        assert (dataset.SeriesDate, dataset.InstanceCreationDate) == ("20260102", "20260102")


def test_a_source_with_a_time_zone_gets_its_results_in_that_zone():
    context = POSITIVE.context()
    headers = [header.copy() for header in context.series.headers]
    headers[0].TimezoneOffsetFromUTC = "-0930"
    for dataset in built(with_headers(context, headers)).values():
        assert (dataset.ContentDate, dataset.ContentTime) == ("20260101", "173405.678900")
        assert dataset.TimezoneOffsetFromUTC == "-0930"


def test_objects_that_several_profiles_ask_for_are_built_once_in_sending_order():
    results = build_results(UNFOUND, EVERY_PROFILE)
    assert [result.variant for result in results] == ["report", "air-report", "narrative", "summary", "pdf"]
    order = list(ResultKind)
    kinds = [next(kind for kind in reversed(order) if variant.startswith(kind.value)) for variant in EVERYTHING]
    assert kinds == sorted(kinds, key=order.index)


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


MAY_BE_MISSING = (
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
    "BodyPartExamined",
)


@pytest.mark.parametrize("keywords", [*((keyword,) for keyword in MAY_BE_MISSING), MAY_BE_MISSING], ids=str)
def test_missing_attributes_of_the_source_are_no_obstacle(keywords):
    headers = copied_headers(LIMITED_CONTEXT)
    for header in headers:
        for keyword in keywords:
            delattr(header, keyword)
    context = with_headers(LIMITED_CONTEXT, headers)
    for dataset in (every_object(context) if len(keywords) > 1 else built(context)).values():
        assert encode(dataset)
