"""A data set of the source paper's form: a folder of 2-D images whose labels are in the names of files and folders.

Everything that names can say is checked before the first pixel is read: files without a label, labels that contradict
each other, classes without an example, copies that were augmented before they came here.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath

from model.findings import Vertebra
from training.datasets.studies import MOST_NAMED, DataSetError
from training.images.image_files import MASK_SUFFIX, is_image_file
from training.images.image_names import NUMBERED, AmbiguousName, NamePatterns, facts_of

LEVEL_NAMES = tuple(level.name for level in Vertebra)


class Unusable(StrEnum):
    """What to do about files without a label, or that cannot be decoded."""

    REFUSE = "refuse"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class ImageFolderConfig:
    """Where the images lie and how their names are read; raises ValueError for a level that there is not.

    ``levels`` are those that must have an example if any image names its level.
    """

    folder: Path
    patterns: NamePatterns = field(default_factory=NamePatterns)
    unusable: Unusable = Unusable.REFUSE
    levels: tuple[str, ...] = LEVEL_NAMES

    def __post_init__(self) -> None:
        unknown = [name for name in self.levels if name not in LEVEL_NAMES]
        if unknown:
            raise ValueError(f"no such level: {', '.join(unknown)}. Levels are: {', '.join(LEVEL_NAMES)}")


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One image and what its name says; ``path`` is below the folder. Images of one ``group`` never cross a split.

    ``level`` and ``fractured`` are None where they are unknown; one of them is known. ``augmented`` names what seems to
    have made this copy of another image ("" nothing). ``masked``: a
    mask of its fracture lies beside it.
    """

    path: PurePosixPath
    group: str
    level: Vertebra | None
    fractured: bool | None
    augmented: str = ""
    masked: bool = False


@dataclass(frozen=True, slots=True)
class FoundImages:
    """The images of a folder in order of their paths, and what is to be said about them.

    ``remarks`` hold no name of a file and are kept with the prepared images; ``left_out`` names files and reasons.
    """

    images: tuple[LabeledImage, ...]
    remarks: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """How names were read, by the example of the largest group."""
        largest, _ = Counter(image.group for image in self.images).most_common(1)[0]
        names = [image.path.name for image in self.images if image.group == largest]
        return f"For example {names[0]!r} and {names[-1]!r} count to the study {largest!r}."

    @property
    def augmented(self) -> bool:
        """Whether names show copies that were augmented before."""
        return any(image.augmented for image in self.images)


def find_images(config: ImageFolderConfig) -> FoundImages:
    """The labeled images of a folder; raises ``DataSetError`` with everything that is wrong."""
    if not config.folder.is_dir():
        raise DataSetError(f"{config.folder} is no folder: name the folder of the images")
    images: list[LabeledImage] = []
    problems: list[str] = []
    others: Counter[str] = Counter()
    files = list(_files(config.folder))
    masks = {path for path in files if path.name.lower().endswith(MASK_SUFFIX)}
    for path in files:
        if not is_image_file(config.folder / path):
            others[path.suffix.lower()] += path not in masks
            continue
        try:
            facts = facts_of(path, config.patterns)
        except AmbiguousName as error:
            problems.append(f"{config.folder / path}: {error}")
            continue
        if facts.level is None and facts.fractured is None:
            problems.append(f"{config.folder / path}: no name says a level (C1..C7) or fracture / normal")
            continue
        masked = path.with_suffix(MASK_SUFFIX) in masks
        if masked and facts.fractured is not True:
            problems.append(f"{config.folder / path}: it has a mask of a fracture but no name says fracture")
            continue
        images.append(LabeledImage(path, facts.group, facts.level, facts.fractured, facts.augmented, masked))
    if problems and config.unusable is Unusable.REFUSE:
        raise DataSetError(*problems, 'Rename these files, set [patterns], or leave them out with unusable = "skip"')
    _check(config, images)
    images = _with_true_copies(images)
    return FoundImages(tuple(images), tuple(_remarks(images, others)), tuple(problems))


def _files(folder: Path) -> Iterator[PurePosixPath]:
    """All files below the folder in a fixed order; hidden ones and links to folders are passed over."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(name for name in names if not name.startswith(".")):
            yield PurePosixPath((Path(parent) / name).relative_to(folder).as_posix())


def _with_true_copies(images: list[LabeledImage]) -> list[LabeledImage]:
    """A number in brackets makes a copy only where the file without it is there."""
    there = {(image.path.parent, image.path.stem) for image in images}

    def original(path: PurePosixPath) -> tuple[PurePosixPath, str]:
        return path.parent, path.stem.rpartition("(")[0].rstrip()

    return [
        replace(image, augmented="") if image.augmented == NUMBERED and original(image.path) not in there else image
        for image in images
    ]


def _check(config: ImageFolderConfig, images: list[LabeledImage]) -> None:
    """Every class has an example."""
    if not images:
        raise DataSetError(f"{config.folder} holds no labeled image (PNG, JPEG, single CT slices)")
    problems = []
    said = {image.fractured for image in images} - {None}
    for value, name in ((True, "fracture"), (False, "normal")):
        if value not in said:
            problems.append(f"{config.folder}: no image is labeled {name}: the network needs both, or set [patterns]")
    levels = {image.level.name for image in images if image.level is not None}
    missing = [name for name in config.levels if name not in levels]
    if levels and missing:
        problems.append(
            f"{config.folder}: no image of {', '.join(missing)}: add some, or set levels = {sorted(levels)} if the "
            "network shall never name them"
        )
    if problems:
        raise DataSetError(*problems)


def _remarks(images: list[LabeledImage], others: Counter[str]) -> Iterator[str]:
    """What is to be known of the data set, in sentences."""
    groups = Counter(image.group for image in images)
    yield (
        f"{len(images)} images of {len(groups)} source studies, as far as names tell; "
        f"the largest has {max(groups.values())}."
    )
    makers = Counter(image.augmented for image in images if image.augmented)
    if makers:
        named = ", ".join(f"{number} by {maker}" for maker, number in makers.most_common())
        yield (
            f"Names show copies that were augmented before they came here ({named}): copies of one image stay in one "
            "split, and copies are left out of validation and test. Better give the originals."
        )
    if len(groups) == len(images) > 1:
        yield "Every image counts as a study of its own: if several are of one patient, set the pattern `group`."
    if not any(image.level for image in images):
        yield "No name says a level: the network will not name levels."
    masked = sum(image.masked for image in images)
    if masked:
        yield f"{masked} images have a mask of their fracture: the map of evidence is learned from it."
    without = sum(image.fractured is None for image in images)
    if without:
        yield f"{without} images say a level but not whether it is fractured: only their level is learned from."
    others = +others
    if others:
        suffixes = ", ".join(
            f"{number} {suffix or 'without suffix'}" for suffix, number in others.most_common(MOST_NAMED)
        )
        yield f"Other files were ignored: {suffixes}."
