import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandloom.errors import BundleError
from bandloom.export.bundle.tiling import Tiling, mirror, round_up_to_cells
from bandloom.export.predict.blend import Accumulator

TILINGS = st.sampled_from(
    [Tiling(48, 6, 12), Tiling(96, 12, 24), Tiling(36, 0, 0), Tiling(24, 6, 6), Tiling(60, 0, 30)]
)


@given(TILINGS, st.integers(1, 120), st.booleans())
def test_cores_cover_every_pixel_and_stay_on_the_60_m_grid(tiling, cells, shifted):
    size = cells * 6
    starts = tiling.starts(size, tiling.half_stride_px if shifted else 0)
    covered = np.zeros(size, bool)
    for start in starts:
        covered[max(start, 0) : start + tiling.core_px] = True
    assert covered.all()
    assert (starts % 6 == 0).all()
    assert (np.diff(starts) > 0).all()
    assert starts[-1] + tiling.core_px <= max(size, tiling.core_px)


@given(TILINGS)
def test_weights_of_neighbouring_cores_sum_to_one(tiling):
    stride, core = tiling.stride_px, tiling.core_px
    total = np.zeros(core + 6 * stride)
    for k in range(7):
        total[k * stride : k * stride + core] += tiling.weights[core // 2]
    whole = total[core : -core if core else None] / tiling.weights[core // 2, core // 2]
    np.testing.assert_allclose(whole, whole[0], rtol=1e-6)
    assert tiling.weights.min() > 0


@given(TILINGS, st.integers(1, 30), st.integers(1, 30), st.booleans())
def test_blending_equal_tiles_gives_that_tile_everywhere(tiling, rows, columns, shifted):
    shift = tiling.half_stride_px if shifted else 0
    height, width = rows * 6, columns * 6
    row_starts, column_starts = tiling.starts(height, shift), tiling.starts(width, shift)
    sums = Accumulator(2, int(row_starts[-1] - row_starts[0]) + tiling.core_px, column_starts, tiling)
    sums.start_at(int(row_starts[0]))
    tile = np.stack([np.full((tiling.tile_px, tiling.tile_px), v, np.float32) for v in (3, -7)])
    for row in row_starts.tolist():
        for column in column_starts.tolist():
            sums.add(tile, row, column)
    logits, covered = sums.take(height - int(row_starts[0]), width)
    assert covered[-int(row_starts[0]) :].all()
    np.testing.assert_allclose(logits[0, -int(row_starts[0]) :], 3, rtol=1e-5)
    np.testing.assert_allclose(logits[1, -int(row_starts[0]) :], -7, rtol=1e-5)


def test_mirror_repeats_the_edge_sample_and_reflects_again_when_the_scene_is_small():
    assert mirror(np.arange(-3, 6), 3).tolist() == [2, 1, 0, 0, 1, 2, 2, 1, 0]
    assert mirror(np.arange(-5, 5), 2).tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]


def test_mirror_of_two_grids_reflects_about_the_same_ground():
    fine = np.arange(12)
    coarse = fine.reshape(-1, 2).mean(axis=1)
    outside = np.arange(-4, 16)
    np.testing.assert_array_equal(
        fine[mirror(outside, 12)].reshape(-1, 2).mean(axis=1), coarse[mirror(np.arange(-2, 8), 6)]
    )


def test_a_ragged_scene_is_rounded_up_to_whole_cells():
    assert round_up_to_cells(600) == 60
    assert round_up_to_cells(610) == 66
    assert round_up_to_cells(600.0000000001) == 60


@pytest.mark.parametrize(
    ("arguments", "said"), [((50, 6, 6), "multiple of 6"), ((48, 24, 0), "keeps 0"), ((48, 6, 24), "twice the taper")]
)
def test_a_tiling_that_cannot_work_is_refused(arguments, said):
    with pytest.raises(BundleError, match=said):
        Tiling(*arguments)
