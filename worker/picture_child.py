"""The process that decodes a stranger's JPEG or PNG: ``python -m worker.picture_child``, within hard limits.

It reads one request as JSON from standard input and leaves gray values and a short answer (see
``worker.picture_reading``).
"""

import json
import sys
from pathlib import Path

import numpy as np

from dicom_node.child_process import limit_process
from model.errors import UnusableImage
from model.image_decoding import decode_image

ANSWER_NAME = "picture.json"
GRAY_NAME = "gray.npy"
MAXIMUM_FILE_BYTES = 1 << 28


def main() -> None:
    """Serve one request."""
    request = json.loads(sys.stdin.read())
    limit_process(request["address_space_bytes"], request["cpu_seconds"], MAXIMUM_FILE_BYTES)
    scratch = Path(request["scratch"])
    answer: dict[str, object] = {"problem": "", "colored": False}
    try:
        picture = decode_image(Path(request["path"]).read_bytes())
        np.save(scratch / GRAY_NAME, picture.gray, allow_pickle=False)
        answer["colored"] = picture.colored
    except UnusableImage as error:
        answer["problem"] = str(error)
    (scratch / ANSWER_NAME).write_text(json.dumps(answer), "utf-8")


if __name__ == "__main__":
    main()
