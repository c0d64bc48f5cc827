"""A destination gets the objects of its profile, and says so when the results were built for another one."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.profiles import PROFILES, Switch, profile_of, variants_of
from dicom_node.result_kind import RETRACTION_SERIES_NUMBER, ResultKind, variant_name


@dataclass(frozen=True)
class Record:
    variant: str


def records(*variants):
    return [Record(variant) for variant in variants]


def names(profile, *variants):
    return [result.variant for result in variants_of(profile, records(*variants))]


@given(name=st.sampled_from(sorted(PROFILES)), switches=st.sets(st.sampled_from(list(Switch))))
def test_kinds_are_in_sending_order_whatever_is_switched_on(name, switches):
    switches -= {Switch.LABELMAP} if name == "minimal" else set()
    profile = profile_of(name, switches)
    assert list(profile.kinds) == sorted(set(profile.kinds), key=list(ResultKind).index)
    assert ResultKind.SUMMARY in profile.kinds
    assert profile.deflated == (Switch.DEFLATED in switches)


def test_without_switches_a_profile_is_itself():
    assert all(profile_of(name) == profile for name, profile in PROFILES.items())


def test_a_labelmap_takes_the_place_of_the_binary_segmentation():
    kinds = profile_of("default", ["labelmap"]).kinds
    assert ResultKind.LABELMAP in kinds
    assert ResultKind.SEGMENTATION not in kinds


def test_switches_add_their_object():
    assert set(profile_of("minimal", ["ko", "gsps", "pdf"]).kinds) == {
        ResultKind.NARRATIVE,
        ResultKind.SUMMARY,
        ResultKind.PDF,
        ResultKind.PRESENTATION_STATE,
        ResultKind.KEY_OBJECTS,
    }


@pytest.mark.parametrize(
    ("name", "switches", "told"),
    [
        ("fancy", [], "default, air, minimal, ohif"),
        ("default", ["fax"], "labelmap, ko, gsps, pdf, deflated"),
        ("minimal", ["labelmap"], "no segmentation"),
    ],
)
def test_a_wrong_setting_is_answered_with_the_choices(name, switches, told):
    with pytest.raises(ValueError, match=told):
        profile_of(name, switches)


def test_series_numbers_are_all_different():
    numbers = [kind.series_number for kind in ResultKind]
    assert len({*numbers, RETRACTION_SERIES_NUMBER}) == len(numbers) + 1


def test_a_report_of_a_labelmap_is_another_object_than_that_of_the_binary_segmentation():
    assert variant_name(ResultKind.REPORT, ResultKind.LABELMAP) == "report-labelmap"
    assert variant_name(ResultKind.REPORT, ResultKind.SEGMENTATION) == variant_name(ResultKind.REPORT, None) == "report"
    assert variant_name(ResultKind.SUMMARY, ResultKind.LABELMAP) == "summary"


def test_each_destination_gets_its_own_choice_of_what_was_built_for_all():
    built = ["segmentation", "labelmap", "report", "report-labelmap", "narrative", "summary"]
    assert names(PROFILES["default"], *built) == ["segmentation", "report", "narrative", "summary"]
    labelmap = ["labelmap", "report-labelmap", "narrative", "summary"]
    assert names(profile_of("default", ["labelmap"]), *built) == labelmap
    assert names(PROFILES["minimal"], *reversed(built)) == ["narrative", "summary"]


def test_what_there_was_no_reason_to_make_is_left_out():
    found_nothing = ["report", "narrative", "summary"]
    for switches in ([], ["labelmap"], ["ko", "gsps"]):
        assert names(profile_of("ohif", switches), *found_nothing) == found_nothing


@pytest.mark.parametrize(
    ("profile", "built", "missing"),
    [
        (profile_of("air"), ["segmentation", "report", "narrative", "summary"], "air-report"),
        (profile_of("default", ["labelmap"]), ["segmentation", "report", "narrative", "summary"], "labelmap"),
        (profile_of("default"), ["labelmap", "report-labelmap", "narrative", "summary"], "segmentation"),
        (profile_of("default", ["pdf"]), ["report", "narrative", "summary"], "pdf"),
    ],
)
def test_results_that_were_built_for_other_profiles_are_refused(profile, built, missing):
    with pytest.raises(ValueError, match=f"no {missing}:"):
        variants_of(profile, records(*built))
