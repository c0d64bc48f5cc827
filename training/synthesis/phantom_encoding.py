"""Encodes the frames of a synthetic CT in every transfer syntax that the listener accepts (PS3.5 A)."""

import importlib
import tempfile
from enum import StrEnum
from pathlib import Path

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

IMPLEMENTATION_CLASS_UID = UID("2.25.232352486231735327458962317449173246541")

IMAGE_PIXEL = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


class TransferSyntax(StrEnum):
    """The transfer syntaxes that a series can be written in."""

    IMPLICIT_LE = "1.2.840.10008.1.2"
    EXPLICIT_LE = "1.2.840.10008.1.2.1"
    RLE = "1.2.840.10008.1.2.5"
    JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
    JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
    JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
    HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"


class EncodingError(RuntimeError):
    """No installed library encodes this frame in this transfer syntax."""


def encode_frames(
    dataset: Dataset, frames: NDArray[np.int16] | NDArray[np.uint16], transfer_syntax: TransferSyntax
) -> None:
    """Set Pixel Data and File Meta Information of a data set whose Image Pixel attributes are set already.

    ``frames`` is (frame, row, column). EncodingError for HTJ2K where no encoder is installed.
    """
    dataset.file_meta = _file_meta(dataset, UID(transfer_syntax.value))
    native = frames.astype(frames.dtype.newbyteorder("<"), copy=False)
    if transfer_syntax in {TransferSyntax.IMPLICIT_LE, TransferSyntax.EXPLICIT_LE}:
        dataset.PixelData = native.tobytes()
        dataset["PixelData"].VR = "OW"
        return
    if transfer_syntax is TransferSyntax.JPEG_LOSSLESS_SV1:
        encoded = [_jpeg_lossless(frame, dataset) for frame in native]
    elif transfer_syntax is TransferSyntax.HTJ2K_LOSSLESS:
        encoded = [_htj2k_lossless(frame) for frame in native]
    else:
        pixels = native if "NumberOfFrames" in dataset else native[0]
        dataset.compress(UID(transfer_syntax.value), pixels, generate_instance_uid=False)
        return
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def _file_meta(dataset: Dataset, transfer_syntax: UID) -> FileMetaDataset:
    """File Meta Information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "CSPINE_PHANTOM"
    return meta


def _jpeg_lossless(frame: NDArray[np.int16] | NDArray[np.uint16], dataset: Dataset) -> bytes:
    """One frame as JPEG Lossless, Process 14, Selection Value 1, made by GDCM.

    GDCM's image objects may only be taken from its own reader (objects made in Python are freed twice), so the frame
    passes through a file.
    """
    native = Dataset()
    for keyword in IMAGE_PIXEL:
        setattr(native, keyword, dataset[keyword].value)
    native.Rows, native.Columns = frame.shape
    native.file_meta = _file_meta(dataset, ExplicitVRLittleEndian)
    native.PixelData = frame.tobytes()
    native["PixelData"].VR = "OW"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        native.save_as(path, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        if not reader.Read():
            raise EncodingError("GDCM did not read back a native frame")
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise EncodingError("GDCM did not encode a frame as JPEG Lossless")
    output = change.GetOutput()
    fragments = output.GetDataElement().GetSequenceOfFragments()
    text: str = fragments.GetFragment(0).GetByteValue().GetBuffer()
    return text.encode("utf-8", "surrogateescape")


def _htj2k_lossless(frame: NDArray[np.int16] | NDArray[np.uint16]) -> bytes:
    """One frame as reversible HTJ2K; the only encoder on PyPI is in imagecodecs, which is optional."""
    try:
        imagecodecs = importlib.import_module("imagecodecs")
    except ImportError as error:
        raise EncodingError("writing HTJ2K needs the package imagecodecs") from error
    return bytes(imagecodecs.htj2k_encode(np.ascontiguousarray(frame), reversible=True))
