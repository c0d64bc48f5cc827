"""The synthetic study that the system tests send: made once a session, small enough to be sent many times."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from training.synthesis.phantom import demo_phantom
from training.synthesis.phantom_series import Identity, SeriesOptions, write_series


@pytest.fixture(scope="session")
def make_neck(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return a maker of synthetic neck series: the same voxels, other UIDs for every seed."""
    phantom = demo_phantom()
    hu = phantom.hu[:, 96:416, 128:384]

    def make(seed: int) -> Path:
        folder = tmp_path_factory.mktemp(f"neck{seed}")
        write_series(hu, phantom.spacing_mm, folder, SeriesOptions(identity=Identity(seed=seed)))
        return folder

    return make


def study_uid(folder: Path) -> str:
    """The Study Instance UID of the series in a folder."""
    return str(dcmread(next(iter(sorted(folder.iterdir()))), stop_before_pixels=True).StudyInstanceUID)
