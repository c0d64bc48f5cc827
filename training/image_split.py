"""Which images train, validate and test: whole source studies, each class in its share, the same for the same seed."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from training.image_folder import LabeledImage
from training.prepared import Split
from training.studies import DataSetError

Shares = Mapping[Split, float]


def split_groups(
    images: Sequence[LabeledImage], shares: Shares, seed: int, held_out: frozenset[str] = frozenset()
) -> dict[str, Split]:
    """The split of every group; raises ``DataSetError`` where a split would be without fractured or normal images.

    Groups in ``held_out`` are the test split, to which none is dealt then. The others are dealt out class by class
    (a group's commonest level, and whether it holds a fracture), each to the split that lacks most images.
    """
    members: dict[str, list[LabeledImage]] = defaultdict(list)
    for image in images:
        members[image.group].append(image)
    result = dict.fromkeys(sorted(held_out), Split.TEST)
    strata: dict[tuple[int, bool], list[str]] = defaultdict(list)
    for group in sorted(members.keys() - held_out):
        strata[_stratum(members[group])].append(group)
    rng = np.random.default_rng(seed)
    splits = [split for split in Split if shares[split] > 0]
    lacking = dict.fromkeys(splits, 0.0)
    for stratum in sorted(strata):
        groups = [strata[stratum][place] for place in rng.permutation(len(strata[stratum]))]
        count = sum(len(members[group]) for group in groups)
        here = {split: shares[split] * count for split in splits}
        for group in groups:
            chosen = max(splits, key=lambda split: here[split] + lacking[split])
            result[group] = chosen
            here[chosen] -= len(members[group])
        lacking = {split: lacking[split] + here[split] for split in splits}
    _check(images, result, [Split.TEST, *splits] if held_out else splits)
    return result


def _stratum(images: Sequence[LabeledImage]) -> tuple[int, bool]:
    levels = Counter(int(image.level) for image in images if image.level is not None)
    level = min(levels, key=lambda one: (-levels[one], one)) if levels else 0
    return level, any(image.fractured for image in images)


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
