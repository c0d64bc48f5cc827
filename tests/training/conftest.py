"""What tests of the training share: crops and cases that take seconds to make, made once a session; do not change."""

from collections.abc import Sequence

import pytest

from training.fitting.dataset import make_case
from training.preparation.crop_cases import CropPlan, make_crops
from training.synthesis.anatomy import Anatomy


@pytest.fixture(scope="session")
def made_crops(tmp_path_factory: pytest.TempPathFactory) -> tuple[CropPlan, int]:
    """A folder of crops of four anatomies, made in two processes, and how many they are.

    The seed is one whose first anatomy is intact and whose others are both: enough to train, to set a threshold and
    to measure.
    """
    plan = CropPlan(tmp_path_factory.mktemp("crops") / "made", anatomies=4, seed=7)
    return plan, make_crops(plan, processes=2)


@pytest.fixture(scope="session")
def cases() -> Sequence[Anatomy]:
    """The training cases of seeds 1 and 2."""
    return [make_case(seed, None) for seed in (1, 2)]
