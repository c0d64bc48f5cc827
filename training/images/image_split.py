"""Which images train, validate and test: whole source studies, dealt out as patients are (``preparation/split.py``)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from model.findings import Vertebra
from training.datasets.studies import DataSetError
from training.images.image_folder import LabeledImage
from training.preparation.prepared import Split
from training.preparation.split import Shares, SplitStudy, assign


def split_groups(
    images: Sequence[LabeledImage], shares: Shares, seed: int, held_out: frozenset[str] = frozenset()
) -> dict[str, Split]:
    """The split of every group; raises ``DataSetError`` where a split would be without fractured or normal images.

    Groups in ``held_out`` are the test split; the shares are of the others.
    """
    members: dict[str, list[LabeledImage]] = defaultdict(list)
    for image in images:
        members[image.group].append(image)
    studies = [_study(group, members[group]) for group in sorted(members.keys() - held_out)]
    splits = assign(studies, shares, seed) | dict.fromkeys(held_out, Split.TEST)
    wanted = [split for split in Split if shares[split] > 0 or (held_out and split is Split.TEST)]
    _check(images, splits, wanted)
    return splits


def _study(group: str, images: Sequence[LabeledImage]) -> SplitStudy:
    """A group as a study: spread evenly are fractures, and of each level (a "data set") fractured and normal."""
    levels = Counter(image.level for image in images if image.level is not None)
    level = min(levels, key=lambda one: (-levels[one], one)) if levels else Vertebra.C1
    fractures = {level: any(image.fractured for image in images)}
    return SplitStudy(group, level.name, group, group, group, fractures, masked=False)


def _check(images: Sequence[LabeledImage], chosen: Mapping[str, Split], splits: Sequence[Split]) -> None:
    problems = []
    for split in splits:
        said = {image.fractured for image in images if chosen[image.group] is split}
        missing = [name for value, name in ((True, "fractured"), (False, "normal")) if value not in said]
        if missing:
            problems.append(
                f"the {split} split has no {' and no '.join(missing)} image: {len(chosen)} source studies are too few "
                "for it. Add images of other studies, or tell studies apart with the pattern `group`"
            )
    if problems:
        raise DataSetError(*problems)
