"""Encapsulated Pixel Data to the words of its frames (PS3.5 A.4). Used in the reading child only.

Loaded for studies with compressed images alone, because pydicom's part of it takes half a second.
"""

from collections.abc import Sequence
from pathlib import Path

from pydicom.encaps import generate_frames

from dicom_node.decoders import Image, Words, decode
from dicom_node.errors import UnusableSeries
from dicom_node.frames import Frame, numbers, text
from dicom_node.malformed import MALFORMED


class EncapsulatedFrames:
    """The frames of encapsulated files; multi-frame files are read and split once."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        files = {frame.file.path: frame for frame in frames if frame.multi_frame}
        self._sources: dict[Path, Sequence[bytes]] = {path: _code_streams(frame) for path, frame in files.items()}

    def words(self, frame: Frame) -> Words:
        """The words (row, column) of one frame; UnusableSeries when it is missing or cannot be decoded."""
        code_streams = self._sources.get(frame.file.path) or _code_streams(frame)
        if frame.index >= len(code_streams):
            raise UnusableSeries("Pixel Data holds fewer frames than the header says.", code="TRUNCATED")
        dataset = frame.file.dataset
        image = Image(
            transfer_syntax_uid=frame.file.transfer_syntax_uid,
            rows=frame.rows,
            columns=frame.columns,
            bits_stored=dataset.integer("BitsStored") or 0,
            signed=dataset.integer("PixelRepresentation") == 1,
            photometric_interpretation=text(dataset, "PhotometricInterpretation"),
        )
        return decode(code_streams[frame.index], image)


def _code_streams(frame: Frame) -> Sequence[bytes]:
    """The code stream of every frame of the frame's file."""
    dataset = frame.file.dataset
    frames = int((numbers(dataset, "NumberOfFrames", 1) or (1.0,))[0]) if frame.multi_frame else 1
    with frame.file.path.open("rb") as file:
        file.seek(frame.file.pixels_start)
        value = file.read(frame.file.pixels_end - frame.file.pixels_start)
    try:
        return list(generate_frames(value, number_of_frames=frames))
    except MALFORMED as error:
        raise UnusableSeries("Pixel Data cannot be decoded.", code="UNDECODABLE") from error
