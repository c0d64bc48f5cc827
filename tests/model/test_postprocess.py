"""Scores become calibrated probabilities, of every level and of the study."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.findings import Vertebra
from model.naming import Levels
from model.postprocess import Calibration, findings, probability


def test_findings_carry_calibrated_levels_and_a_study_probability_of_its_own():
    found = Levels(np.zeros((2, 2, 2), dtype=np.uint8), (Vertebra.C4, Vertebra.C5))
    scores, volumes = {Vertebra.C4: 0.1, Vertebra.C5: 0.9}, {Vertebra.C4: 8000.0, Vertebra.C5: 9000.0}
    calibration = Calibration(scale=2.0, offset=-1.0, study_scale=1.0, study_offset=-0.5, threshold=0.6)
    answer = findings(found, scores, volumes, calibration)
    assert [finding.vertebra for finding in answer.fractured] == [Vertebra.C5]
    assert answer.vertebrae[1].probability == pytest.approx(probability(0.9, 2.0, -1.0))
    assert answer.probability == pytest.approx(probability(0.9, 1.0, -0.5))
    assert answer.vertebrae[0].volume_mm3 == 8000.0
    assert answer.threshold == 0.6


@given(score=st.floats(0, 1), other=st.floats(0, 1), scale=st.floats(0.05, 20), offset=st.floats(-30, 30))
def test_probability_rises_with_the_score(score, other, scale, offset):
    low, high = sorted((score, other))
    assert 0 <= probability(low, scale, offset) <= probability(high, scale, offset) <= 1
