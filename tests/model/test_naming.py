"""One anatomical order for the whole column: names are unique, ordered and mended where the network miscounts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.findings import Limitation, Vertebra
from model.naming import Levels, NamingConfig, Piece, find_pieces, name_pieces, solve_levels
from model.postprocess import Calibration, findings, limitations

CONFIG = NamingConfig()
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
    assert list(found.found) == list(Vertebra)
    assert not found.cut
    assert limitations(found, 1.0) == ()


def test_a_miscounted_lower_half_is_mended_by_the_order():
    found = solved(column([1, 2, 4, 5, 6], sure=0.8))
    assert list(found.found) == [1, 2, 3, 4, 5]


def test_one_wrong_name_among_right_ones_is_mended():
    found = solved(column([2, 3, 4, 6, 6, 7], sure=0.8))
    assert list(found.found) == [2, 3, 4, 5, 6, 7]


def test_a_level_far_out_of_order_is_not_believed():
    levels = column([2, 3, 4, 5])
    levels[-4:, :4, :4] = 0
    found = solved(levels)
    assert list(found.found) == [2, 3, 4, 5]


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.integers(1, 7), min_size=1, max_size=9), sure=st.floats(0.3, 0.98))
def test_whatever_the_network_says_levels_go_down_in_order(names, sure):
    levels = column(names, sure=sure)
    found = solved(levels)
    middles = [np.argwhere(found.labels == level)[:, 0].mean() for level in list(found.found)]
    assert middles == sorted(middles)
    assert set(np.unique(found.labels)) == {0, *found.found}


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
    answer = findings(found, {}, {}, Calibration())
    assert answer.vertebrae == ()
    assert limitations(found, 1.0) == (Limitation.NO_LEVELS,)
    assert answer.probability == 0


def test_few_cut_and_thick_are_said():
    levels = column([1, 2, 3], first=0)
    found = solved(levels)
    assert found.cut == {Vertebra.C1}
    assert limitations(found, 2.5) == (Limitation.FEW_LEVELS, Limitation.CUT_LEVEL, Limitation.THICK_SLICES)


def test_a_hole_in_the_column_is_said():
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    assert limitations(Levels(labels, (Vertebra.C1, Vertebra.C3)), 1.0) == (
        Limitation.LEVELS_NOT_CONTIGUOUS,
        Limitation.FEW_LEVELS,
    )


def test_cortex_beside_a_level_joins_it_and_soft_tissue_does_not():
    levels = column([3, 4, 5])
    levels[..., 0] = np.where(levels[..., 0] == 1, 0.9, levels[..., 0])
    hu = np.zeros(levels.shape[:3], dtype=np.float32)
    hu[:, 3, 4:12] = 700
    found = solve_levels(levels, hu, SPACING, CONFIG)
    assert (found.labels[4:11, 3, 4:12] == 3).all()
    assert not found.labels[:, 12].any()


def test_a_small_neck_and_a_cut_level_keep_their_names():
    """Levels 11 mm apart, the last one cut by the field of view, as the network names them."""
    likeness = np.eye(7) * 0.8 + 0.02
    heights = [11, 25, 38, 49, 60, 67]
    pieces = [
        Piece(k + 1, (h, 110.0, 45.0), 900.0 if k == 5 else 7000.0, tuple(likeness[k]), cut=k == 5)
        for k, h in enumerate(heights)
    ]
    assert name_pieces(pieces, CONFIG) == {number: number for number in range(1, 7)}
