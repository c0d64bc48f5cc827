"""One anatomical order for the whole column: names are unique, ordered and mended where the network miscounts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.findings import Limitation, Vertebra
from model.postprocess import (
    Levels,
    Piece,
    PostprocessConfig,
    find_pieces,
    findings,
    fracture_score,
    limitations,
    name_pieces,
    probability,
    solve_levels,
)

CONFIG = PostprocessConfig()
SPACING = 2.0
PITCH = 9


def column(names: list[int], *, sure: float = 0.9, first: int = 4) -> np.ndarray:
    """Probabilities of blocks (14 mm high, 18 mm apart) below each other, each looking like one level."""
    levels = np.zeros((first + PITCH * len(names) + 4, 16, 16, 8), dtype=np.float32)
    levels[..., 0] = 1.0
    for place, name in enumerate(names):
        top = first + PITCH * place
        levels[top : top + 7, 4:12, 4:12] = (1 - sure) / 7
        levels[top : top + 7, 4:12, 4:12, name] = sure
    return levels


def solved(levels: np.ndarray) -> Levels:
    return solve_levels(levels, np.zeros(levels.shape[:3], dtype=np.float32), SPACING, CONFIG)


def test_seven_clear_blocks_are_seven_levels():
    found = solved(column([1, 2, 3, 4, 5, 6, 7]))
    assert sorted(found.scores) == list(Vertebra)
    assert not found.cut
    assert limitations(found, 1.0) == ()


def test_a_miscounted_lower_half_is_mended_by_the_order():
    found = solved(column([1, 2, 4, 5, 6], sure=0.8))
    assert sorted(found.scores) == [1, 2, 3, 4, 5]


def test_one_wrong_name_among_right_ones_is_mended():
    found = solved(column([2, 3, 4, 6, 6, 7], sure=0.8))
    assert sorted(found.scores) == [2, 3, 4, 5, 6, 7]


def test_a_level_far_out_of_order_is_not_believed():
    levels = column([2, 3, 4, 5])
    levels[-4:, :4, :4] = 0
    found = solved(levels)
    assert sorted(found.scores) == [2, 3, 4, 5]


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.integers(1, 7), min_size=1, max_size=9), sure=st.floats(0.3, 0.98))
def test_whatever_the_network_says_levels_go_down_in_order(names, sure):
    levels = column(names, sure=sure)
    found = solved(levels)
    middles = [np.argwhere(found.labels == level)[:, 0].mean() for level in sorted(found.scores)]
    assert middles == sorted(middles)
    assert set(np.unique(found.labels)) == {0, *found.scores}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 200), st.floats(100, 9000), st.lists(st.floats(0, 1), min_size=7, max_size=7)),
        max_size=9,
    )
)
def test_names_never_go_up_the_column(raw):
    pieces = [Piece(k + 1, (z, 0.0, 0.0), volume, tuple(like)) for k, (z, volume, like) in enumerate(raw)]
    named = name_pieces(pieces, CONFIG)
    ordered = [named[piece.number] for piece in sorted(pieces, key=lambda p: p.middle_mm[0]) if piece.number in named]
    assert ordered == sorted(ordered)


def test_crumbs_beside_a_level_join_it_and_far_ones_vanish():
    levels = column([3, 4, 5])
    levels[6:8, 13:15, 5:7] = 0.02
    levels[6:8, 13:15, 5:7, 4] = 0.9
    levels[0:2, 0:2, 14:16] = 0.02
    levels[0:2, 0:2, 14:16, 7] = 0.9
    found = solved(levels)
    assert found.labels[6, 13, 5] in (3, 4)
    assert found.labels[0, 0, 15] == 0


def test_nothing_found_says_so():
    levels = np.zeros((20, 10, 10, 8), dtype=np.float32)
    levels[..., 0] = 1
    found = solved(levels)
    assert find_pieces(levels, SPACING, CONFIG)[1] == []
    answer = findings(found, found.labels, (1.0, 1.0, 1.0), CONFIG)
    assert answer.vertebrae == ()
    assert answer.limitations == (Limitation.NO_LEVELS,)
    assert answer.probability == 0


def test_few_cut_and_thick_are_said():
    levels = column([1, 2, 3], first=0)
    found = solved(levels)
    assert found.cut == {Vertebra.C1}
    assert limitations(found, 2.5) == (Limitation.FEW_LEVELS, Limitation.CUT_LEVEL, Limitation.THICK_SLICES)


def test_a_hole_in_the_column_is_said():
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    assert limitations(Levels(labels, {Vertebra.C1: 0.0, Vertebra.C3: 0.0}), 1.0) == (
        Limitation.LEVELS_NOT_CONTIGUOUS,
        Limitation.FEW_LEVELS,
    )


def test_the_suspicious_level_is_the_one_with_the_fracture():
    levels = column([1, 2, 3, 4, 5, 6, 7])
    fracture = np.zeros(levels.shape[:3], dtype=np.float32)
    top = 4 + PITCH * 4
    fracture[top + 2 : top + 5, 5:9, 5:9] = 0.95
    found = solve_levels(levels, fracture, SPACING, CONFIG)
    answer = findings(found, found.labels, (SPACING,) * 3, CONFIG)
    assert [finding.vertebra for finding in answer.fractured] == [Vertebra.C5]
    assert answer.probability == max(finding.probability for finding in answer.vertebrae)
    assert answer.vertebrae[0].volume_mm3 == pytest.approx((found.labels == 1).sum() * 8)


@given(score=st.floats(0, 1), other=st.floats(0, 1))
def test_probability_rises_with_the_score(score, other):
    low, high = sorted((score, other))
    assert 0 <= probability(low, CONFIG) <= probability(high, CONFIG) <= 1


def test_the_score_is_the_mean_of_the_highest():
    assert fracture_score(np.array([0.1, 0.9, 0.5], dtype=np.float32), 2) == pytest.approx(0.7)
    assert fracture_score(np.array([], dtype=np.float32), 2) == 0
