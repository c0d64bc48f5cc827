"""``python -m training.synthesis.phantom_study FOLDER``: the demo study as a DICOM series, and its truth."""

import argparse
import json
from pathlib import Path

from training.synthesis.phantom import Phantom, demo_phantom
from training.synthesis.phantom_series import SeriesOptions, write_series


def write_demo_study(folder: Path, truth: Path | None = None) -> Phantom:
    """Write the demo phantom's series into ``folder`` and, where asked for, which levels it breaks into ``truth``."""
    phantom = demo_phantom()
    folder.mkdir(parents=True, exist_ok=True)
    write_series(phantom.hu, phantom.spacing_mm, folder, SeriesOptions())
    if truth is not None:
        levels = sorted(vertebra.name for vertebra in phantom.fractured)
        truth.write_text(json.dumps({"synthetic": True, "fractured": levels}))
    return phantom


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write the synthetic demo study (not a patient) as DICOM CT slices.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--truth", type=Path, help="write the fractured levels into this JSON file")
    arguments = parser.parse_args()
    write_demo_study(arguments.folder, arguments.truth)


if __name__ == "__main__":
    main()
