"""How an object that came back is read as a review of our results (pure: values in, values out).

An object speaks of our results when it has one of our Tracking UIDs or names one of our SOP Instances. It is a review
unless it is one of our own: made by us, not verified, and no successor of a result (Predecessor Documents).

Measurement groups (TID 1410, 1411, 1501) speak of the level whose Tracking UID they have, others of the level that they
name. The reader's answer is Fracture -> Present, Absent or Undetermined (Yes, No); without it, Finding = Fracture means
present, and under our Tracking UID Finding = the vertebra means absent, as in our reports.

- another level under our Tracking UID: WRONG_LEVEL; the answer holds for that level
- another answer than ours: REJECTED (a suspected fracture is none, or one was missed)
- the same answer: ACCEPTED where the document is verified; else nothing, for nobody answers for it
- Undetermined: no verdict, but kept, so that nobody learns from that level
- a suspected level whose group was removed: REJECTED, in a successor of the report that had it, and in a verified
  document that has other groups of ours, unless a group of unknown level is left; the removal of a level without
  suspicion says nothing

Without groups: an answer for the cervical spine that contradicts ours is REJECTED; a verified successor with the same
answer and the same texts is ACCEPTED. Free text is never interpreted.

Key Objects: "Rejected for Quality Reasons" and "Rejected for Patient Safety Reasons" are REJECTED as a whole; other
titles give no verdict.

Segmentations speak of the level whose Tracking UID a segment has. Viewers lose it: then the level of the property type,
or of the label, and where its mask is mostly that of another level of ours, it was relabeled. An unchanged mask says
nothing (a segmentation cannot be verified); an emptied one is REJECTED, a changed one CORRECTED_MASK. A segment that is
missing says nothing: readers save what they worked on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dicom_node.node import MANUFACTURER
from dicom_node.review import LevelReview, Presence, Review, Verdict, gravest
from dicom_node.review_document import REJECTING_TITLES, Document, Group
from dicom_node.review_mask import Comparison, OurMask, Segmentation
from model.findings import Vertebra

RELABELED_OVERLAP = 0.5
_CERTAINTY = (None, Presence.ABSENT, Presence.UNDETERMINED, Presence.PRESENT)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of our results: SOP Instance UIDs, levels by Tracking UID, suspected levels, and our documents."""

    instances: frozenset[str]
    tracked: Mapping[str, Vertebra]
    suspected: frozenset[Vertebra]
    documents: Mapping[str, Document] = field(default_factory=dict)


def version_of_document(document: Document, versions: Sequence[Version]) -> int | None:
    """Which version of our results a document is a review of; None when of none."""
    names = document.references | document.predecessors | {document.sop_instance_uid}
    tracking_uids = {group.tracking_uid for group in document.groups}
    index = _version(names, tracking_uids, versions)
    if index is None or document.manufacturer != MANUFACTURER or document.verified:
        return index
    return index if document.predecessors & versions[index].instances else None


def version_of_segmentation(segmentation: Segmentation, versions: Sequence[Version]) -> int | None:
    """Which version of our results a segmentation is a review of; None when of none."""
    tracking_uids = {segment.tracking_uid for segment in segmentation.segments}
    index = _version(segmentation.predecessors, tracking_uids, versions)
    if index is None or segmentation.manufacturer != MANUFACTURER:
        return index
    return index if segmentation.predecessors & versions[index].instances else None


def review_of_document(document: Document, index: int, version: Version) -> Review:
    """What a document says of a version of our results."""
    if document.title in REJECTING_TITLES:
        return Review(index, document.verified, Verdict.REJECTED)
    levels = _levels_of_groups(document, version) + _removed(document, version)
    if not levels and not document.groups and document.answer is Presence.ABSENT:
        levels = [LevelReview(level, Verdict.REJECTED, Presence.ABSENT) for level in version.suspected]
    verdict = gravest([level.verdict for level in levels])
    if verdict is None and not document.groups:
        verdict = _verdict_of_answer(document, version)
    levels.sort(key=lambda level: level.level)
    return Review(index, document.verified, verdict, document.answer, tuple(levels))


def review_of_segmentation(
    segmentation: Segmentation, index: int, version: Version, ours: OurMask, found: Comparison
) -> Review:
    """What a segmentation says of a version of our results."""
    levels = []
    for segment in segmentation.segments:
        overlaps = found.overlaps(segment.number, ours)
        level = version.tracked.get(segment.tracking_uid) or _origin(segment.level, overlaps)
        if level is None:
            continue
        overlap = overlaps.get(level)
        moved = segment.level if segment.level not in {None, level} else None
        verdict = Verdict.CORRECTED_MASK if moved is None else Verdict.WRONG_LEVEL
        if not found.voxels[segment.number]:
            verdict, moved = Verdict.REJECTED, None
        elif moved is None and overlap == 1.0:
            continue
        levels.append(LevelReview(level, verdict, None, moved, segment.number, overlap))
    return Review(index, False, gravest([level.verdict for level in levels]), None, tuple(levels))


def _version(names: frozenset[str], tracking_uids: set[str], versions: Sequence[Version]) -> int | None:
    """The first version that one of these names or Tracking UIDs belongs to."""
    for index, version in enumerate(versions):
        if names & version.instances or tracking_uids & version.tracked.keys():
            return index
    return None


def _levels_of_groups(document: Document, version: Version) -> list[LevelReview]:
    """What the groups say; of several of one level, the most alarming."""
    found: dict[Vertebra, LevelReview] = {}
    for group in document.groups:
        ours = version.tracked.get(group.tracking_uid)
        level = ours or group.level
        if level is None:
            continue
        review = _level(level, ours, group, version, verified=document.verified)
        earlier = found.get(level)
        if earlier is None or _CERTAINTY.index(review.fracture) > _CERTAINTY.index(earlier.fracture):
            found[level] = review
    return [review for review in found.values() if review.verdict is not None or review.fracture is not None]


def _level(level: Vertebra, ours: Vertebra | None, group: Group, version: Version, *, verified: bool) -> LevelReview:
    """What one group says of a level."""
    stated = _stated(group, tracked=ours is not None)
    if ours is not None and group.level not in {None, ours}:
        return LevelReview(level, Verdict.WRONG_LEVEL, stated, group.level)
    if stated is None or stated is Presence.UNDETERMINED:
        return LevelReview(level, None, stated)
    if (stated is Presence.PRESENT) is not (level in version.suspected):
        return LevelReview(level, Verdict.REJECTED, stated)
    return LevelReview(level, Verdict.ACCEPTED, stated) if verified else LevelReview(level)


def _stated(group: Group, *, tracked: bool) -> Presence | None:
    """The answer of a group, explicit or by its finding."""
    if group.stated is not None:
        return group.stated
    if group.finding_is_fracture:
        return Presence.PRESENT
    return Presence.ABSENT if tracked and group.finding_is_level else None


def _removed(document: Document, version: Version) -> list[LevelReview]:
    """Suspected levels whose group is not there any more; none where a group cannot be told to be of another level."""
    if any(group.level is None and group.tracking_uid not in version.tracked for group in document.groups):
        return []
    replaced = [version.documents[uid] for uid in _replaced(document) if uid in version.documents]
    expected = {version.tracked.get(group.tracking_uid) for earlier in replaced for group in earlier.groups}
    tracked = {version.tracked.get(group.tracking_uid) for group in document.groups} - {None}
    if document.verified and tracked:
        expected |= version.suspected
    named = tracked | {group.level for group in document.groups}
    missing = (expected & version.suspected) - named
    return [LevelReview(level, Verdict.REJECTED, Presence.ABSENT) for level in missing if level is not None]


def _replaced(document: Document) -> frozenset[str]:
    """SOP Instance UIDs of what a document replaces: its predecessors, or itself where it was changed in place."""
    return document.predecessors | {document.sop_instance_uid}


def _verdict_of_answer(document: Document, version: Version) -> Verdict | None:
    """The verdict of a document without groups that says nothing of a level."""
    if document.answer is Presence.PRESENT and not version.suspected:
        return Verdict.REJECTED
    same = [
        earlier
        for uid in _replaced(document)
        if (earlier := version.documents.get(uid)) is not None
        and (earlier.answer, earlier.texts, earlier.groups) == (document.answer, document.texts, ())
    ]
    return Verdict.ACCEPTED if document.verified and same else None


def _origin(named: Vertebra | None, overlaps: Mapping[Vertebra, float]) -> Vertebra | None:
    """The level of ours that a segment without our Tracking UID was made from."""
    if named is None:
        return None
    nearest = max(overlaps, key=lambda level: overlaps[level], default=named)
    return nearest if overlaps.get(nearest, 0.0) >= RELABELED_OVERLAP else named
