"""The folder that ``images prepare`` makes: standard images as PNG files, and one index of what is known of them.

::

    FOLDER/images.json         format, preprocessing, splits, remarks, and a record of every image (written last)
           images/<name>.png   the standard image: 8 bit gray, as the network is fed with it
           masks/<name>.png    where its fracture is, if that is marked
           config.toml         the settings it was made with

``name`` is ``image-<16 hexadecimal digits>`` and ``group`` a hash: they name no patient.
"""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import UnusableImage
from model.findings import Vertebra
from model.image_decoding import decode_image
from model.image_preprocess import IMAGE_PREPROCESS_VERSION, ImageConfig
from training.datasets.studies import DataSetError
from training.fitting.truth import UNKNOWN
from training.preparation.prepared import Split

FORMAT = "cspine prepared images 1"
INDEX_FILE = "images.json"
IMAGES, MASKS = "images", "masks"
_NAME = re.compile(r"image-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """The record of one image; ``statistics`` are those of ``model.image_preprocess``, ``copy`` of augmented ones.

    ``masked``: where its fracture is, is marked.
    """

    name: str
    group: str
    split: Split
    level: Vertebra | None
    fractured: bool | None
    statistics: dict[str, float]
    copy: bool = False
    masked: bool = False


@dataclass(frozen=True, slots=True)
class PreparedImages:
    """A prepared folder of images."""

    folder: Path
    data: str
    synthetic: bool
    preprocess: ImageConfig
    images: tuple[PreparedImage, ...]
    remarks: tuple[str, ...]

    def of(self, *splits: Split) -> tuple[PreparedImage, ...]:
        """The images of some splits."""
        return tuple(image for image in self.images if image.split in splits)

    @property
    def levels(self) -> tuple[Vertebra, ...]:
        """The levels that training sees an example of."""
        return tuple(sorted({image.level for image in self.of(Split.TRAIN) if image.level is not None}))

    @property
    def masked(self) -> bool:
        """Whether the fracture of any image is marked."""
        return any(image.masked for image in self.images)

    def masks(self, images: Sequence[PreparedImage]) -> NDArray[np.float32]:
        """Where fractures are (n, row, column; 0..1): nowhere in a normal image, -1 where nobody marked them."""
        result = np.zeros((len(images), self.preprocess.rows, self.preprocess.columns), dtype=np.float32)
        for index, image in enumerate(images):
            if image.masked:
                result[index] = self._gray(image_file(self.folder, image.name, MASKS))
            elif image.fractured is not False:
                result[index] = UNKNOWN
        return result

    def pixels(self, images: Sequence[PreparedImage]) -> NDArray[np.uint8]:
        """Standard images (n, row, column); ``DataSetError`` when a file is missing or damaged."""
        result = np.empty((len(images), self.preprocess.rows, self.preprocess.columns), dtype=np.uint8)
        for index, image in enumerate(images):
            result[index] = np.rint(self._gray(image_file(self.folder, image.name)) * 255)
        return result

    def _gray(self, path: Path) -> NDArray[np.float32]:
        try:
            gray = decode_image(path.read_bytes()).gray
        except (OSError, UnusableImage) as error:
            raise DataSetError(f"{path} cannot be read ({error}): prepare the folder again") from error
        if gray.shape != (self.preprocess.rows, self.preprocess.columns):
            raise DataSetError(f"{path} has another size: prepare the folder again")
        return gray


def image_name(data: str, path: str) -> str:
    """The name of an image in a prepared folder: a hash of its data set's and its own."""
    return f"image-{hashlib.sha256(f'{data}/{path}'.encode()).hexdigest()[:16]}"


def group_hash(data: str, group: str) -> str:
    """What stands for a source study."""
    return hashlib.sha256(f"{data}/{group}".encode()).hexdigest()[:16]


def image_file(folder: Path, name: str, part: str = IMAGES) -> Path:
    """Where an image, or its mask, lies."""
    return folder / part / f"{name}.png"


def write_image(folder: Path, name: str, pixels: NDArray[np.uint8], part: str = IMAGES) -> None:
    """Write a standard image, or a mask on its pixels."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    image_file(folder, name, part).write_bytes(content.getvalue())


def keep_only(prepared: PreparedImages) -> None:
    """Remove images that are not in the index: of an earlier preparation, or copies that are not measured on."""
    names = {image.name for image in prepared.images}
    for part in (IMAGES, MASKS):
        for path in (prepared.folder / part).glob("image-*.png"):
            if path.stem not in names:
                path.unlink()


def write_index(prepared: PreparedImages) -> None:
    """Write the index, whole or not at all; every image must be there."""
    document = {
        "format": FORMAT,
        "preprocess_version": IMAGE_PREPROCESS_VERSION,
        "preprocess": asdict(prepared.preprocess),
        "data": prepared.data,
        "synthetic": prepared.synthetic,
        "remarks": list(prepared.remarks),
        "images": [asdict(one) | {"level": one.level.name if one.level else None} for one in prepared.images],
    }
    path = prepared.folder / INDEX_FILE
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_index(folder: Path) -> PreparedImages:
    """A prepared folder of images; ``DataSetError`` when it is none, or of another version."""
    try:
        document = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        version = document["format"], document["preprocess_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataSetError(
            f"{folder} is no prepared folder of images: run `python -m training images prepare` first"
        ) from error
    if version != (FORMAT, IMAGE_PREPROCESS_VERSION):
        raise DataSetError(f"{folder} was prepared by another version: prepare it again into a new folder")
    try:
        images = tuple(_image(values) for values in document["images"])
        preprocess = ImageConfig(**document["preprocess"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataSetError(f"{folder / INDEX_FILE} is damaged ({error}): prepare it again") from error
    remarks = tuple(document["remarks"])
    return PreparedImages(folder, document["data"], document["synthetic"], preprocess, images, remarks)


def _image(values: dict[str, object]) -> PreparedImage:
    name, level = str(values["name"]), values["level"]
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an image")
    known = {"split": Split(str(values["split"])), "level": None if level is None else Vertebra[str(level)]}
    return PreparedImage(**(values | known))  # type: ignore[arg-type]  # the record's own types
