"""The parent's side of decoding a JPEG or PNG: no byte that a stranger wrote is parsed or decoded in this process."""

import json
import tempfile
from pathlib import Path

import numpy as np

from dicom_node.child_process import epitaph, run_child
from dicom_node.errors import ReadingAborted
from model.errors import UnusableImage
from model.image_decoding import ImageLimits, Picture
from worker.picture_child import ANSWER_NAME, GRAY_NAME

ADDRESS_SPACE_BYTES = 4 << 30
CPU_SECONDS = 60
WALL_SECONDS = 120.0
_MAXIMUM_SENTENCE = 300


def read_picture(path: Path, address_space_bytes: int = ADDRESS_SPACE_BYTES) -> Picture:
    """The picture in a file; raises ``UnusableImage``, and ``ReadingAborted`` when its process left no answer."""
    with tempfile.TemporaryDirectory(prefix="cspine-picture-") as folder:
        scratch = Path(folder)
        request = {
            "path": str(path.absolute()),
            "scratch": folder,
            "address_space_bytes": address_space_bytes,
            "cpu_seconds": CPU_SECONDS,
        }
        status = run_child("worker.picture_child", json.dumps(request), scratch, WALL_SECONDS)
        try:
            answer = json.loads((scratch / ANSWER_NAME).read_text("utf-8"))
            problem, colored = str(answer["problem"]), answer["colored"] is True
            gray = None if problem else np.load(scratch / GRAY_NAME, allow_pickle=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReadingAborted(epitaph(status)) from error
    if gray is None:
        raise UnusableImage("".join(one for one in problem[:_MAXIMUM_SENTENCE] if one.isprintable()))
    if gray.dtype != np.float32 or gray.ndim != 2 or gray.size > ImageLimits().pixels:
        raise ReadingAborted("The reading process gave no usable answer.")
    return Picture(np.clip(np.nan_to_num(gray), 0, 1), colored)
