"""The block test against planted copies at every phase, and against what is no copy."""

import numpy as np
import pytest

from bandloom.shards.corpora.blocks import CONSTANT, _may_be, begins_at, common_phase, constant_share, phase_of


@pytest.mark.parametrize("factor", [2, 6])
def test_copies_are_known_at_every_phase(factor):
    rng = np.random.default_rng(factor)
    for row in range(factor):
        for column in range(factor):
            big = rng.integers(1, 9999, (20, 20)).repeat(factor, 0).repeat(factor, 1)
            plane = big[factor - row :, factor - column :][: 16 * factor, : 16 * factor]
            assert phase_of([plane, plane + 1], factor) == (row % factor, column % factor)


def test_noise_and_smooth_ground_are_no_copies_and_one_value_is():
    rng = np.random.default_rng(0)
    assert phase_of([rng.integers(1, 9999, (96, 96))], 6) is None
    y, x = np.mgrid[:96, :96]
    assert phase_of([3 * y + 5 * x], 2) is None
    assert phase_of([np.full((96, 96), 1234)], 6) == (0, 0)


def test_copies_with_a_flat_half_are_still_told_from_interpolation():
    rng = np.random.default_rng(1)
    plane = rng.integers(1, 9999, (96, 96))
    plane[:, :60] = 1000
    assert phase_of([plane], 2) is None
    assert constant_share(plane, 2, (0, 0)) == pytest.approx(30 / 48)


def test_ground_without_data_says_nothing_of_copies():
    rng = np.random.default_rng(2)
    plane = np.zeros((600, 600), np.uint16)
    plane[:24, :24] = rng.integers(1, 9999, (24, 24))
    assert constant_share(plane, 6, (0, 0)) == 0.0
    assert phase_of([plane], 6) is None
    plane[:24, :24] = rng.integers(1, 9999, (4, 4)).repeat(6, 0).repeat(6, 1)
    assert phase_of([plane], 6) == (0, 0)


def test_the_coarsest_grid_decides_where_a_sample_begins():
    assert common_phase({2: (0, 1), 6: (2, 5)}) == (2, 5)
    assert common_phase({2: (1, 1), 6: None}) == (1, 1)
    assert begins_at((0, 1), 2, (2, 5))
    assert not begins_at((1, 1), 2, (2, 5))
    assert not begins_at(None, 2, (0, 0))


def test_a_look_at_equal_neighbours_never_hides_a_phase():
    """What is told before any phase is tried must be what trying all of them tells."""
    rng = np.random.default_rng(3)
    for trial in range(300):
        factor, side = (2, 6)[trial % 2], int(rng.integers(20, 70)) // 6 * 6 + 12
        plane = rng.integers(1, 400 if trial % 3 else 3, (side, side)).astype(np.uint16)
        if trial % 4:
            at = rng.integers(0, factor, 2)
            plane = plane.repeat(factor, 0).repeat(factor, 1)[at[0] : at[0] + side, at[1] : at[1] + side].copy()
        spoilt = rng.random(plane.shape) < rng.choice([0, 0.0005, 0.01, 0.1])
        plane[spoilt] = rng.integers(0, 400, int(spoilt.sum()))
        if trial % 5 == 0:
            plane[: side // 2] = 0
        tried = [
            (row, column)
            for row in range(factor)
            for column in range(factor)
            if _may_be(plane, factor, (row, column)) and constant_share(plane, factor, (row, column)) >= CONSTANT
        ]
        assert phase_of([plane], factor) == (tried[0] if tried else None)
