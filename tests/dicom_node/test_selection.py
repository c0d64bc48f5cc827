"""The choice of a series: what is left out and why, what wins, and that the choice is deterministic."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.selection import SeriesSummary, choose, exclusion, is_bone_kernel

GOOD = SeriesSummary(
    "1.2.1",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    slices=200,
    spacing_mm=(1.0, 0.4, 0.4),
    kernel="B70s",
    body_part="CSPINE",
    description="C-Spine axial",
    series_number=3,
)


def other(**changes):
    return replace(GOOD, series_instance_uid="1.2.2", series_number=4, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modality": "MR"}, "modality is MR"),
        ({"modality": ""}, "modality is not given"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, "not CT images"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "LOCALIZER"),
        ({"image_type": ("DERIVED", "SECONDARY", "AXIAL")}, "SECONDARY"),
        ({"image_type": ("DERIVED", "PRIMARY", "MIP")}, "MIP"),
        ({"unit": "Z_EFF"}, "not in Hounsfield"),
        ({"slices": 1}, "one slice"),
        ({"slices": 5}, "too few"),
        ({"slices": 20, "spacing_mm": (1.0, 0.4, 0.4)}, "too few"),
        ({"spacing_mm": (5.0, 0.4, 0.4)}, "5.0 mm apart"),
        ({"spacing_mm": (1.0, 4.0, 4.0)}, "pixels are 4.0 mm"),
        ({"degrees_from_axial": 90.0, "spacing_mm": (3.0, 0.4, 0.4)}, "not axial"),
        ({"body_part": "KNEE", "description": ""}, "far from the neck"),
        ({"problem": "It is broken.", "problem_code": "X"}, "It is broken."),
    ],
)
def test_what_cannot_be_used_is_left_out_with_its_reason(changes, words):
    assert words in exclusion(replace(GOOD, **changes))
    assert choose([replace(GOOD, **changes)]).chosen is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"degrees_from_axial": 90.0}, "not axial"),
        ({"body_part": "HEAD", "description": "Head"}, "names the neck"),
        ({"slices": 90}, "covers less"),
        ({"slices": 100, "spacing_mm": (2.0, 0.4, 0.4)}, "farther apart"),
        ({"image_type": ("DERIVED", "PRIMARY", "AXIAL")}, "derived"),
        ({"kernel": "B31s", "description": "C-Spine axial"}, "bone kernel"),
        ({"spacing_mm": (1.2, 0.4, 0.4)}, "farther apart"),
        ({"slices": 190}, "fewer slices"),
        ({}, "as good as"),
    ],
)
def test_the_better_series_wins_and_the_other_is_told_why(changes, words):
    for summaries in ([GOOD, other(**changes)], [other(**changes), GOOD]):
        selection = choose(summaries)
        assert selection.chosen == GOOD.series_instance_uid
        (lost,) = [verdict for verdict in selection.verdicts if not verdict.chosen]
        assert words in lost.reason


def test_a_sagittal_volume_is_used_when_it_is_alone():
    selection = choose([replace(GOOD, degrees_from_axial=90.0)])
    assert selection.chosen == GOOD.series_instance_uid
    assert "not axial but the only volume" in selection.verdicts[0].reason


@pytest.mark.parametrize(
    "words", ["HWS", "Neck", "CERVICAL", "C SPINE", "c-spine", "Halswirbelsaeule", "Rachis cervical"]
)
def test_the_neck_is_recognized_in_several_languages(words):
    assert replace(GOOD, body_part="", description=words).anatomy == 3


def test_head_and_chest_are_considered_because_they_may_hold_the_neck():
    for part in ("HEAD", "CHEST", ""):
        assert choose([replace(GOOD, body_part=part, description="")]).chosen is not None


def test_a_broken_candidate_is_named_by_its_code():
    broken = replace(GOOD, problem="Slices are shifted.", problem_code="SHIFTED_SLICES")
    assert choose([replace(GOOD, modality="MR"), broken]).problem_code == "SHIFTED_SLICES"
    assert choose([replace(GOOD, modality="MR")]).problem_code == ""


def test_a_broken_localizer_is_a_localizer():
    scout = replace(GOOD, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), problem="Odd.", problem_code="X")
    assert choose([scout]).problem_code == ""


@pytest.mark.parametrize(
    "kernel", ["B60s", "Br64d\\3", "Hr68f", "BONE", "BONEPLUS", "EDGE", "FC30", "FC81", "D", "YD", "H70h"]
)
def test_sharp_kernels_are_bone_kernels(kernel):
    assert is_bone_kernel(kernel)


@pytest.mark.parametrize("kernel", ["B30s", "Br40d\\3", "STANDARD", "SOFT", "FC08", "FC50", "B", "YA", "", "1", "H30s"])
def test_soft_kernels_are_not(kernel):
    assert not is_bone_kernel(kernel)


def test_an_empty_study_has_no_choice():
    assert choose([]).chosen is None


summaries = st.lists(
    st.builds(
        SeriesSummary,
        series_instance_uid=st.integers(1, 5).map(lambda number: f"1.2.{number}"),
        modality=st.sampled_from(["CT", "CT", "CT", "MR"]),
        image_type=st.sampled_from([(), ("ORIGINAL", "PRIMARY", "AXIAL"), ("DERIVED", "SECONDARY")]),
        slices=st.integers(0, 300),
        spacing_mm=st.tuples(*[st.floats(0.1, 6.0)] * 3),
        degrees_from_axial=st.floats(0.0, 90.0),
        kernel=st.sampled_from(["", "BONE", "B30s"]),
        description=st.text(max_size=20),
        series_number=st.integers(0, 9),
    ),
    max_size=6,
    unique_by=lambda summary: summary.series_instance_uid,
)


@given(summaries)
def test_every_series_gets_a_sentence_and_at_most_one_is_chosen(found):
    selection = choose(found)
    assert [verdict.series_instance_uid for verdict in selection.verdicts] == [s.series_instance_uid for s in found]
    assert all(verdict.reason.endswith(".") for verdict in selection.verdicts)
    assert [v.series_instance_uid for v in selection.verdicts if v.chosen] == [selection.chosen] * bool(
        selection.chosen
    )


@given(summaries, st.randoms())
def test_the_choice_does_not_depend_on_the_order(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert choose(found).chosen == choose(shuffled).chosen
