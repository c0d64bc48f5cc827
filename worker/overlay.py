"""Pictures for people at a terminal: the summary of a result as a PNG file."""

from pathlib import Path

from PIL import Image
from pydicom import dcmread


def save_summary_image(secondary_capture: Path, target: Path) -> Path:
    """Write the pixels of our own RGB Secondary Capture summary as a PNG file."""
    Image.fromarray(dcmread(secondary_capture).pixel_array).save(target)
    return target
