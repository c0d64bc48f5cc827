"""From a folder of images to a prepared one: the source paper's cleaning, resizing, labeling and train/test split.

Each image passes through ``model.image_preprocess``, the code that serves. Nothing is written where the split leaks.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model.errors import UnusableImage
from model.image_decoding import Picture
from model.image_preprocess import ImageConfig, StandardImage, resize, standard_image, statistics_of
from training.config import save_config
from training.datasets.studies import MOST_NAMED, DataSetError
from training.fitting.progress import Progress
from training.images.image_files import MASK_SUFFIX, read_picture, read_pictures
from training.images.image_folder import (
    LEVEL_NAMES,
    FoundImages,
    ImageFolderConfig,
    LabeledImage,
    Unusable,
    find_images,
)
from training.images.image_names import NamePatterns
from training.images.image_split import split_groups
from training.images.prepared_images import (
    IMAGES,
    INDEX_FILE,
    MASKS,
    PreparedImage,
    PreparedImages,
    group_hash,
    image_name,
    keep_only,
    write_image,
    write_index,
)
from training.preparation.leakage import BITS, NEAR_BITS, Fingerprint, fingerprint, near_duplicates
from training.preparation.prepared import Split

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, slots=True)
class PrepareImagesConfig:
    """Settings of ``python -m training images prepare``."""

    folder: Annotated[Path, Field(description="The folder of the images; its subfolders are looked through")]
    output: Annotated[Path, Field(description="Folder of the prepared images")]
    name: Annotated[str, Field(description="Name of the data set in every table", min_length=1, max_length=60)] = (
        "images"
    )
    synthetic: Annotated[bool, Field(description="No image is of a patient: every answer will say so")] = False
    rows: Annotated[int, Field(description="Rows of the standard image", ge=32, le=1024, multiple_of=32)] = 256
    columns: Annotated[int, Field(description="Columns of the standard image", ge=32, le=1024, multiple_of=32)] = 256
    validation: Annotated[Share, Field(description="Share of the images to validate and calibrate on", gt=0)] = 0.15
    test: Annotated[Share, Field(description="Share of the images to measure on", gt=0)] = 0.2
    seed: Annotated[int, Field(ge=0, description="Seed of the split")] = 1
    test_studies: Annotated[
        str, Field(description="Pattern of paths whose studies are the test split, instead of a share; empty: none")
    ] = ""
    unusable: Annotated[Unusable, Field(description="Unlabeled or damaged files: refuse, or skip and name them")] = (
        Unusable.REFUSE
    )
    levels: Annotated[
        tuple[str, ...], Field(description="Levels that must have an example if any image names its level")
    ] = LEVEL_NAMES
    join_near_duplicates: Annotated[
        bool, Field(description="Studies that share nearly the same picture count as one; else a leak ends the run")
    ] = False
    patterns: Annotated[NamePatterns, Field(description="How names are read: regular expressions")] = field(
        default_factory=NamePatterns
    )

    def __post_init__(self) -> None:
        if self.validation + self.test >= 0.9:
            raise ValueError("validation and test leave less than a tenth of the images to train on")
        try:
            re.compile(self.test_studies)
        except re.error as error:
            raise ValueError(f"test_studies: {self.test_studies!r} is no regular expression: {error}") from error

        self.images  # noqa: B018 -- refuses levels that there are not

    @property
    def images(self) -> ImageFolderConfig:
        """The images and how their names are read."""
        return ImageFolderConfig(self.folder, self.patterns, self.unusable, self.levels)

    @property
    def standard(self) -> ImageConfig:
        """How images are made."""
        return ImageConfig(rows=self.rows, columns=self.columns)

    @property
    def shares(self) -> dict[Split, float]:
        """The share of each split that studies are dealt out to."""
        test = 0.0 if self.test_studies else self.test
        return {Split.TRAIN: 1 - self.validation - test, Split.VALIDATION: self.validation, Split.TEST: test}

    def held_out(self, images: Sequence[LabeledImage]) -> frozenset[str]:
        """The groups that are the test split by their name."""
        if not self.test_studies:
            return frozenset()
        pattern = re.compile(self.test_studies, re.IGNORECASE)
        return frozenset(image.group for image in images if pattern.search(image.path.as_posix()))


@dataclass(frozen=True, slots=True)
class _Read:
    """One image as it was read: its labels, its name in the prepared folder, its statistics and fingerprint."""

    image: LabeledImage
    name: str
    statistics: dict[str, float]
    print: Fingerprint


@dataclass(frozen=True, slots=True)
class Outcome:
    """The prepared folder, and what only the user who prepared it is told: it names files."""

    prepared: PreparedImages
    told: tuple[str, ...]


def prepare_images(config: PrepareImagesConfig) -> Outcome:
    """Prepare a folder of images; raises ``DataSetError`` with everything that is wrong, files by name."""
    found = find_images(config.images)
    if config.folder.resolve() in (config.output.resolve(), *config.output.resolve().parents):
        raise DataSetError(f"{config.output} lies in the folder of the images: name an output beside it")
    for part in (IMAGES, MASKS):
        (config.output / part).mkdir(parents=True, exist_ok=True)
    (config.output / INDEX_FILE).unlink(missing_ok=True)
    problems: list[str] = []
    read = list(_read(config, found, problems))
    if problems and config.unusable is Unusable.REFUSE:
        raise DataSetError(*problems, 'Mend or remove these files, or leave them out with unusable = "skip"')
    read, remarks = _joined(config, read)
    images = [one.image for one in read]
    splits = split_groups(images, config.shares, config.seed, config.held_out(images))
    check_leaks(config.folder, read, [splits[one.image.group] for one in read])
    left_out = [*found.left_out, *problems]
    if left_out:
        remarks.append(f"{len(left_out)} files were left out: unlabeled, contradictory or damaged.")
    prepared = PreparedImages(
        config.output,
        config.name,
        config.synthetic,
        config.standard,
        tuple(_records(config.name, read, splits)),
        (*found.remarks, *remarks),
    )
    save_config(config, config.output)
    keep_only(prepared)
    write_index(prepared)
    return Outcome(prepared, (found.example, *left_out[:MOST_NAMED]))


def _read(config: PrepareImagesConfig, found: FoundImages, problems: list[str]) -> Iterator[_Read]:
    """Read, clean, resize and write every image; why one cannot be used goes to ``problems``."""
    labeled = {config.folder / image.path: image for image in found.images}
    bar = Progress(0.0)
    try:
        for number, (path, picture) in enumerate(read_pictures(labeled), start=1):
            standard = _standard(picture, config.standard)
            bar.advance(number / len(labeled), f"image {number} of {len(labeled)}")
            if isinstance(standard, UnusableImage):
                problems.append(f"{path}: {standard}")
                continue
            name = image_name(config.name, labeled[path].path.as_posix())
            try:
                _write(config, name, path, standard, masked=labeled[path].masked)
            except UnusableImage as error:
                problems.append(f"{path.with_suffix(MASK_SUFFIX)}: {error}")
                continue
            statistics = asdict(statistics_of(standard))
            yield _Read(labeled[path], name, statistics, fingerprint(standard.pixels[standard.inner]))
    finally:
        bar.close()


def _write(config: PrepareImagesConfig, name: str, path: Path, standard: StandardImage, *, masked: bool) -> None:
    """Write a standard image and its mask; ``UnusableImage`` where the mask does not fit."""
    if masked:
        write_image(config.output, name, standard_mask(path, standard, config.standard), MASKS)
    write_image(config.output, name, standard.pixels)


def _standard(picture: Picture | UnusableImage, config: ImageConfig) -> StandardImage | UnusableImage:
    if isinstance(picture, UnusableImage):
        return picture
    try:
        return standard_image(picture.gray, config)
    except UnusableImage as error:
        return error


def standard_mask(path: Path, standard: StandardImage, config: ImageConfig) -> NDArray[np.uint8]:
    """The mask beside an image on the pixels of its standard image; ``UnusableImage`` where it does not fit."""
    mask = read_picture(path.with_suffix(MASK_SUFFIX)).gray
    if mask.shape != standard.source_shape:
        raise UnusableImage(f"the mask has {mask.shape} pixels, its image {standard.source_shape}")
    resized, inner = resize(mask[standard.box], config)
    result = np.zeros(resized.shape, dtype=np.uint8)
    result[inner] = np.rint(np.clip(resized[inner], 0, 1) * 255)
    return result


def _joined(config: PrepareImagesConfig, read: list[_Read]) -> tuple[list[_Read], list[str]]:
    """Groups that share nearly the same picture made one, if that is wished, and a remark about it."""
    if not config.join_near_duplicates:
        return read, []
    joined = {one.image.group: one.image.group for one in read}

    def root(group: str) -> str:
        while joined[group] != group:
            group = joined[group]
        return group

    for first, second, _ in near_duplicates(_prints(read), [one.image.group for one in read], dimensions=2):
        joined[root(read[second].image.group)] = root(read[first].image.group)
    roots = {group: root(group) for group in joined}
    count = len(roots) - len(set(roots.values()))
    remark = f"{count} source studies were joined with others because they share nearly the same picture."
    together = [replace(one, image=replace(one.image, group=roots[one.image.group])) for one in read]
    return together, [remark] if count else []


def check_leaks(folder: Path, read: Sequence[_Read], splits: Sequence[Split]) -> None:
    """Raise ``DataSetError`` that names images of different splits which are nearly the same picture."""
    leaks = [
        f"{folder / read[first].image.path} ({splits[first]}) and {folder / read[second].image.path} "
        f"({splits[second]}) are nearly the same picture ({apart} of {BITS} bits differ; {NEAR_BITS} or fewer are "
        "too near)"
        for first, second, apart in near_duplicates(_prints(read), splits, dimensions=2)
    ]
    if leaks:
        advice = "The split leaks: name source studies with the pattern `group`, or set join_near_duplicates = true"
        raise DataSetError(advice, *leaks)


def _prints(read: Sequence[_Read]) -> NDArray[np.uint64]:
    return np.array([one.print for one in read], dtype=np.uint64)


def _records(data: str, read: Sequence[_Read], splits: dict[str, Split]) -> Iterator[PreparedImage]:
    """A record of every image; augmented copies are left out of validation and test where an original is there."""
    originals = {one.image.group for one in read if not one.image.augmented}
    kept: set[str] = set()
    for one in sorted(read, key=lambda item: (item.image.group, bool(item.image.augmented), item.name)):
        image, split = one.image, splits[one.image.group]
        copy = bool(image.augmented)
        if copy and split is not Split.TRAIN and (image.group in originals or image.group in kept):
            continue
        kept.add(image.group)
        yield PreparedImage(
            name=one.name,
            group=group_hash(data, image.group),
            split=split,
            level=image.level,
            fractured=image.fractured,
            statistics=one.statistics,
            copy=copy,
            masked=image.masked,
        )
