"""The process that decodes single CT slices: ``python -m dicom_node.slice_child``, within hard limits.

It reads one request as JSON from standard input and leaves, for each file, its HU as ``<number>.npy`` or a sentence in
the answer (see `dicom_node.slices`).
"""

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.child_process import limit_process
from dicom_node.errors import DicomNodeError, UnusableSeries
from dicom_node.frames import frames_of
from dicom_node.instance_file import read_instance
from dicom_node.malformed import MALFORMED
from dicom_node.pixels import pixel_problem, write_hu

ANSWER_NAME = "slices.json"


def slice_hu(path: Path) -> NDArray[np.int16]:
    """HU (row, column) of an instance of one frame; raises the errors of `dicom_node.errors`."""
    file = read_instance(path)
    frames = frames_of(file, maximum_frames=1)
    problem = pixel_problem(file, len(frames))
    if problem:
        raise UnusableSeries(f"{problem}.")
    volume = np.empty((1, frames[0].rows, frames[0].columns), dtype=np.int16)
    write_hu(frames, volume)
    return np.asarray(volume[0], dtype=np.int16)


def problem_of(path: Path, target: Path) -> str:
    """Write the slice's HU to ``target``; why that is impossible, or an empty text."""
    try:
        np.save(target, slice_hu(path), allow_pickle=False)
    except DicomNodeError as error:
        return str(error)
    except MemoryError:
        return "Decoding needs more memory than is allowed"
    except OSError as error:
        return f"The file cannot be read ({error.strerror})"
    except MALFORMED as error:  # the text of such an error may hold a patient's data
        return f"The instance is malformed ({type(error).__name__})"
    return ""


def main() -> None:
    """Serve one request."""
    request = json.loads(sys.stdin.read())
    limit_process(request["address_space_bytes"], request["cpu_seconds"], 1 << 30)
    scratch = Path(request["scratch"])
    problems = [problem_of(Path(path), scratch / f"{number}.npy") for number, path in enumerate(request["paths"])]
    (scratch / ANSWER_NAME).write_text(json.dumps(problems), "utf-8")


if __name__ == "__main__":
    main()
