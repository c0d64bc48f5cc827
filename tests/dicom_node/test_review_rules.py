"""How objects that came back are read: our own results, edited as readers and viewers edit them."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from highdicom.sr import Comprehensive3DSR
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage, ImplicitVRLittleEndian, RLELossless, generate_uid

from dicom_node import codes
from dicom_node.profiles import Profile
from dicom_node.result_kind import ResultKind
from dicom_node.results import build_results
from dicom_node.retraction import RejectionReason, build_retraction
from dicom_node.review import LevelReview, Presence, Review, Verdict
from dicom_node.review_child import review_of
from dicom_node.review_exchange import ResultVersion, ReviewRequest
from dicom_node.source_headers import with_values
from model.findings import Vertebra
from tests.dicom_node import edits
from tests.dicom_node.necks import DEVICE, NOTHING_FOUND, POSITIVE, Case

C2, C3, C4, C5, C6 = Vertebra.C2, Vertebra.C3, Vertebra.C4, Vertebra.C5, Vertebra.C6
PRESENT, ABSENT, UNDETERMINED = Presence.PRESENT, Presence.ABSENT, Presence.UNDETERMINED
REPORTS = ("report", "air-report")


@cache
def results(case: Case = POSITIVE) -> dict[str, Dataset]:
    """Our results by variant: every one that can come back."""
    kinds = tuple(kind for kind in ResultKind if kind not in {ResultKind.SUMMARY, ResultKind.PDF})
    return {result.variant: result.dataset for result in build_results(case.context(), [Profile("all", kinds)])}


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory):
    """Our results of a study as they lie in the store."""

    @cache
    def stored(case: Case) -> ResultVersion:
        return edits.version_of(results(case).values(), tmp_path_factory.mktemp("ours"), case.fractured)

    return stored


@pytest.fixture
def read(tmp_path: Path, version):
    """Read an object that came back, beside our results of the study."""

    def reading(dataset: Dataset, case: Case = POSITIVE) -> Review | None:
        path = edits.written(dataset, tmp_path / "review.dcm")
        return review_of(ReviewRequest(str(path), (version(case),), str(tmp_path)))

    return reading


def levels(review: Review) -> dict[Vertebra, LevelReview]:
    return {level.level: level for level in review.levels}


@pytest.mark.parametrize("variant", REPORTS)
def test_a_verified_report_without_changes_accepts_every_level(read, variant):
    review = read(edits.edited(results()[variant], verified=True))
    assert (review.verdict, review.verified, review.fracture) == (Verdict.ACCEPTED, True, PRESENT)
    assert {level: item.verdict for level, item in levels(review).items()} == dict.fromkeys(Vertebra, Verdict.ACCEPTED)
    assert {level for level, item in levels(review).items() if item.fracture is PRESENT} == {C2, C5}


def test_a_report_that_was_verified_in_place_accepts(read):
    verified = edits.edited(results()["report"], verified=True, successor=False, manufacturer="cspine")
    verified.SOPInstanceUID = results()["report"].SOPInstanceUID
    assert read(verified).verdict is Verdict.ACCEPTED


def test_a_report_that_was_only_saved_again_says_nothing(read):
    review = read(edits.edited(results()["report"]))
    assert review == Review(0, False, None, PRESENT)
    assert review.as_line() == "no verdict (not verified)"


@pytest.mark.parametrize("variant", REPORTS)
@pytest.mark.parametrize("verified", [True, False])
def test_a_removed_suspected_level_is_rejected_and_others_may_go(read, variant, verified):
    review = edits.edited(results()[variant], verified=verified)
    edits.remove(review, C5, C3)
    said = read(review)
    assert said.verdict is Verdict.REJECTED
    assert levels(said)[C5] == LevelReview(C5, Verdict.REJECTED, ABSENT)
    assert C3 not in levels(said)
    assert (C2 in levels(said)) is verified


def test_a_verified_copy_that_names_no_predecessor_rejects_what_it_leaves_out(read):
    review = edits.edited(results()["report"], verified=True, successor=False)
    edits.remove(review, C5)
    assert levels(read(review))[C5].verdict is Verdict.REJECTED


def test_one_finding_taken_into_an_unverified_report_of_its_own_rejects_no_other(read):
    review = edits.edited(results()["report"], successor=False)
    edits.remove(review, *(level for level in Vertebra if level is not C5))
    assert read(review) == Review(0, False, None, PRESENT)


@pytest.mark.parametrize(("value", "fracture"), [(codes.ABSENT, ABSENT), (codes.NO, ABSENT)])
def test_a_negated_fracture_is_rejected(read, value, fracture):
    review = edits.edited(results()["report"])
    edits.change(edits.group_of(review, C5), codes.FRACTURE, value)
    assert levels(read(review)) == {C5: LevelReview(C5, Verdict.REJECTED, fracture)}


def test_a_finding_that_became_the_vertebra_is_a_rejected_fracture(read):
    review = edits.edited(results()["report"])
    group = edits.group_of(review, C2)
    edits.change(group, codes.FINDING, codes.VERTEBRA[C2])
    edits.drop(group, codes.FRACTURE)
    assert levels(read(review)) == {C2: LevelReview(C2, Verdict.REJECTED, ABSENT)}


def test_a_fracture_that_we_missed_is_a_rejected_level(read):
    review = edits.edited(results()["report"])
    group = edits.group_of(review, C4)
    edits.change(group, codes.FINDING, codes.FRACTURE)
    assert levels(read(review)) == {C4: LevelReview(C4, Verdict.REJECTED, PRESENT)}


def test_a_new_finding_without_our_tracking_uid_speaks_of_the_level_that_it_names(read):
    review = edits.edited(results()["report"])
    group = edits.group_of(review, C6)
    edits.change(edits.group_of(review, C6), codes.FINDING, codes.FRACTURE)
    edits.drop(group, codes.TRACKING_UNIQUE_IDENTIFIER)
    site = edits.edited(results()["report"])
    group.ContentSequence.extend(
        item for item in edits.group_of(site, C5).ContentSequence if edits.named(item, codes.FINDING_SITE)
    )
    edits.change(group, codes.FINDING_SITE, codes.VERTEBRA[C6])
    assert levels(read(review)) == {C6: LevelReview(C6, Verdict.REJECTED, PRESENT)}


def test_an_undetermined_level_gets_no_verdict_and_is_kept(read):
    review = edits.edited(results()["report"], verified=True)
    edits.change(edits.group_of(review, C5), codes.FRACTURE, codes.UNDETERMINED)
    said = read(review)
    assert levels(said)[C5] == LevelReview(C5, None, UNDETERMINED)
    assert said.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("old", [False, True])
def test_another_finding_site_under_our_tracking_uid_is_the_wrong_level(read, old):
    review = edits.edited(results()["report"], verified=True)
    group = edits.group_of(review, C5)
    edits.change(group, codes.FINDING_SITE, codes.VERTEBRA[C6])
    if old:  # the same codes as older viewers write them
        for item in group.ContentSequence:
            if edits.named(item, codes.FINDING_SITE):
                for sequence, value in (
                    (item.ConceptNameCodeSequence, "G-C0E3"),
                    (item.ConceptCodeSequence, "T-11660"),
                ):
                    sequence[0].CodeValue, sequence[0].CodingSchemeDesignator = value, "SRT"
    said = read(review)
    assert said.verdict is Verdict.WRONG_LEVEL
    assert levels(said)[C5] == LevelReview(C5, Verdict.WRONG_LEVEL, PRESENT, C6)


def test_a_report_that_highdicom_writes_anew_is_read_alike(read):
    ours = results()["report"]
    tree = Dataset()
    for keyword in ("ValueType", "ConceptNameCodeSequence", "ContinuityOfContent", "ContentTemplateSequence"):
        tree[keyword] = ours[keyword]
    tree.ContentSequence = edits.edited(ours).ContentSequence
    edits.remove(tree, C2)
    review = Comprehensive3DSR(
        evidence=[with_values(header, {}) for header in POSITIVE.context().series.headers],
        content=tree,
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=edits.READER,
        is_complete=True,
        is_verified=True,
        verifying_observer_name="Reader^The",
        verifying_organization="Hospital",
        previous_versions=[ours],
    )
    said = read(review)
    assert (said.verdict, said.verified) == (Verdict.REJECTED, True)
    assert levels(said)[C2] == LevelReview(C2, Verdict.REJECTED, ABSENT)
    assert levels(said)[C5] == LevelReview(C5, Verdict.ACCEPTED, PRESENT)


def test_arrows_that_a_viewer_saved_under_other_tracking_uids_are_told_by_their_site(read):
    review = edits.edited(results()["arrows"])
    for _, group in edits.groups(review):
        for item in group.ContentSequence:
            if edits.named(item, codes.TRACKING_UNIQUE_IDENTIFIER):
                item.UID = generate_uid()
    assert read(review) == Review(0, False, None, PRESENT)
    edits.remove(review, C2)
    assert levels(read(review)) == {C2: LevelReview(C2, Verdict.REJECTED, ABSENT)}
    edits.drop(edits.group_of(review, C5), codes.FINDING_SITE)
    assert read(review) == Review(0, False, None, PRESENT)  # what is left may be any level


def test_in_another_class_and_in_implicit_vr_a_report_is_read_alike(read):
    review = edits.edited(results()["report"], verified=True)
    review.SOPClassUID = ComprehensiveSRStorage
    review.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    edits.remove(review, C5)
    assert levels(read(review))[C5].verdict is Verdict.REJECTED


def test_a_verified_narrative_accepts_and_one_with_other_words_says_nothing(read):
    review = edits.edited(results()["narrative"], verified=True)
    assert read(review) == Review(0, True, Verdict.ACCEPTED)
    review.ContentSequence[-1].ContentSequence[0].TextValue = "No fracture. Smith^John agrees."
    assert read(review) == Review(0, True)
    assert read(edits.edited(results()["narrative"])) == Review(0, False)


def test_an_answer_for_the_whole_spine_rejects_the_suspected_levels(read):
    review = edits.edited(results()["report"])
    spine = review.ContentSequence[-1].ContentSequence[0]
    spine.ConceptCodeSequence[0].CodeValue = codes.ABSENT.value
    review.ContentSequence = [
        item for item in review.ContentSequence if not edits.named(item, codes.IMAGING_MEASUREMENTS)
    ]
    said = read(review)
    assert (said.verdict, said.fracture) == (Verdict.REJECTED, ABSENT)
    assert {level: item.fracture for level, item in levels(said).items()} == {C2: ABSENT, C5: ABSENT}


def test_a_study_in_which_nothing_was_found_is_accepted_or_contradicted(read):
    review = edits.edited(results(NOTHING_FOUND)["report"], verified=True)
    assert read(review, NOTHING_FOUND) == Review(0, True, Verdict.ACCEPTED, UNDETERMINED)
    review.ContentSequence[-1].ContentSequence[0].ConceptCodeSequence[0].CodeValue = codes.PRESENT.value
    assert read(review, NOTHING_FOUND) == Review(0, True, Verdict.REJECTED, PRESENT)


@pytest.mark.parametrize("reason", RejectionReason)
def test_a_rejection_note_of_another_system_rejects_the_result(read, reason):
    note = build_retraction([results()["segmentation"]], DEVICE, POSITIVE.context().analyzed_at, reason)
    note.Manufacturer = edits.READER
    assert read(note) == Review(0, False, Verdict.REJECTED)
    assert read(note, NOTHING_FOUND) is None
    title = note.ConceptNameCodeSequence[0]
    title.CodeValue = "113039"  # Data Retention Policy Expired
    assert read(note) == Review(0, False)


def test_key_objects_of_our_results_that_reject_nothing_give_no_verdict(read):
    assert read(edits.edited(results()["key-objects"])) == Review(0, False)


def test_what_names_nothing_of_ours_is_no_review(read):
    review = edits.edited(results()["report"], verified=True)
    assert read(review, NOTHING_FOUND) is None
    assert read(edits.edited(results()["segmentation"]), NOTHING_FOUND) is None


def test_our_own_results_of_elsewhere_are_no_reviews_unless_they_are_verified_or_successors(read):
    for variant in ("report", "segmentation"):
        again = edits.edited(results()[variant], successor=False, manufacturer="cspine")
        assert read(again) is None
    assert read(edits.edited(results()["report"], manufacturer="cspine")) is not None
    assert read(edits.edited(results()["segmentation"], manufacturer="cspine")) is not None
    verified = edits.edited(results()["report"], verified=True, successor=False, manufacturer="cspine")
    assert read(verified).verdict is Verdict.ACCEPTED


def pixels_of(segmentation: Dataset) -> np.ndarray:
    """The frames of a BINARY segmentation, to be changed."""
    frames = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8), bitorder="little")
    size = segmentation.Rows * segmentation.Columns
    return frames[: size * segmentation.NumberOfFrames].reshape(-1, segmentation.Rows, segmentation.Columns)


def frames_of(segmentation: Dataset, level: Vertebra) -> list[int]:
    """The numbers of a level's frames."""
    groups = segmentation.PerFrameFunctionalGroupsSequence
    numbers = [group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in groups]
    return [index for index, number in enumerate(numbers) if number == level]


def with_pixels(segmentation: Dataset, frames: np.ndarray) -> Dataset:
    segmentation.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    return segmentation


def test_an_unchanged_mask_says_nothing_in_any_encoding(read):
    assert read(edits.edited(results()["segmentation"])) == Review(0, False)
    labelmap = edits.edited(results()["labelmap"])
    assert read(labelmap) == Review(0, False)
    labelmap.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    assert read(labelmap) == Review(0, False)


def test_a_changed_mask_is_corrected_and_its_overlap_is_told(read):
    ours = results()["segmentation"]
    review, frames = edits.edited(ours), pixels_of(ours).copy()
    [first, *_] = mine = frames_of(ours, C5)
    before = int(frames[mine].sum())
    frames[first] = 0
    after = int(frames[mine].sum())
    said = read(with_pixels(review, frames))
    assert said.verdict is Verdict.CORRECTED_MASK
    assert levels(said) == {C5: LevelReview(C5, Verdict.CORRECTED_MASK, None, None, 5, 2 * after / (before + after))}


def test_an_erased_level_is_rejected(read):
    ours = results()["segmentation"]
    frames = pixels_of(ours).copy()
    frames[frames_of(ours, C4)] = 0
    said = read(with_pixels(edits.edited(ours), frames))
    assert levels(said) == {C4: LevelReview(C4, Verdict.REJECTED, None, None, 4, 0.0)}


def test_a_segment_with_another_property_type_is_the_wrong_level(read):
    review = edits.edited(results()["segmentation"])
    kind = review.SegmentSequence[4].SegmentedPropertyTypeCodeSequence[0]
    kind.CodeValue, kind.CodeMeaning = codes.VERTEBRA[C6].value, codes.VERTEBRA[C6].meaning
    assert levels(read(review)) == {C5: LevelReview(C5, Verdict.WRONG_LEVEL, None, C6, 5, 1.0)}


def test_a_mask_without_our_tracking_uids_is_told_by_its_labels_as_ohif_saves_it(read):
    ours = results()["segmentation"]
    review, frames = edits.edited(ours), pixels_of(ours).copy()
    edits.rename_segments(review, lambda segment: segment.SegmentLabel)
    assert read(review) == Review(0, False)
    frames[frames_of(ours, C3)[0]] = 0
    assert set(levels(read(with_pixels(review, frames)))) == {C3}
    edits.rename_segments(review, lambda segment: "C6" if segment.SegmentLabel == "C5" else "")
    said = levels(read(review))
    assert said == {C5: LevelReview(C5, Verdict.WRONG_LEVEL, None, C6, 5, 1.0)}


def test_a_mask_on_another_grid_is_corrected_without_a_measure(read):
    review = edits.edited(results()["segmentation"])
    measures = review.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [3.0, 3.0]
    said = read(review)
    assert {item.verdict for item in said.levels} == {Verdict.CORRECTED_MASK}
    assert {item.overlap for item in said.levels} == {None}


def test_a_fractional_mask_is_taken_from_half_of_its_maximum(read):
    ours = results()["segmentation"]
    review = edits.edited(ours)
    review.SegmentationType, review.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
    review.MaximumFractionalValue = 200
    review.BitsAllocated = review.BitsStored = 8
    review.HighBit = 7
    review.PixelData = np.where(pixels_of(ours) > 0, np.uint8(100), np.uint8(99)).tobytes()
    assert read(review) == Review(0, False)


def test_of_several_versions_the_first_that_it_speaks_of_counts(tmp_path, version):
    path = edits.written(edits.edited(results()["report"], verified=True), tmp_path / "review.dcm")
    versions = (version(NOTHING_FOUND), version(POSITIVE), version(POSITIVE))
    assert review_of(ReviewRequest(str(path), versions, str(tmp_path))).version == 1
