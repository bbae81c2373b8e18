"""The draw against a naive loop over all pixels, and its probabilities over many seeds."""

import numpy as np
import pytest

from bandloom.export.assess.draw import draw_sample, pick_pixels
from bandloom.export.maps.class_grid import ClassGrid
from tests.export.maps.maps import UTM, codes_of_a_map, write_map


@pytest.fixture
def grid(tmp_path):
    return ClassGrid(write_map(tmp_path / "map.tif", codes_of_a_map()))


@pytest.mark.parametrize("rows", [1, 7, 90, None])
def test_strips_pick_what_a_loop_over_all_pixels_picks(grid, rows):
    codes = codes_of_a_map()
    wanted = {code: (int((codes == code).sum()), 25) for code in (1, 2, 4)}
    picked = pick_pixels(grid, wanted, 11, rows)
    for code, (pixels, count) in wanted.items():
        numbers = set(np.random.default_rng([11, code]).choice(pixels, count, replace=False, shuffle=False).tolist())
        naive, number = [], 0
        for row in range(90):
            for column in range(70):
                if codes[row, column] == code:
                    if number in numbers:
                        naive.append([row, column])
                    number += 1
        assert picked[code].tolist() == naive


def test_every_pixel_of_a_class_is_drawn_as_often_as_any_other(grid):
    codes = codes_of_a_map()
    pixels, drawn = int((codes == 1).sum()), np.zeros(codes.shape, int)
    for seed in range(200):
        drawn[tuple(pick_pixels(grid, {1: (pixels, 60)}, seed, 90)[1].T)] += 1
    assert drawn.sum() == 200 * 60
    assert (drawn[codes != 1] == 0).all()
    times, expected = drawn[codes == 1], 200 * 60 / pixels
    chi_square = np.sum((times - expected) ** 2) / (expected * (1 - 60 / pixels))
    assert chi_square == pytest.approx(pixels, abs=4 * np.sqrt(2 * pixels))


def test_points_lie_at_centres_of_valid_pixels_of_their_stratum_none_twice(grid):
    sample, codes = draw_sample(grid.path, 40, 300, 5), codes_of_a_map()
    columns, rows = ~UTM * tuple(sample.xy.T)
    assert len({*zip(rows.tolist(), columns.tolist(), strict=True)}) == 300
    assert (rows % 1 == 0.5).all()
    assert (columns % 1 == 0.5).all()
    written = sample.columns()
    assert written["stratum"].tolist() == codes[rows.astype(int), columns.astype(int)].tolist()
    assert (1 / written["inclusion_probability"]).sum() == pytest.approx((codes != 255).sum())
    assert np.bincount(written["stratum"])[[1, 2, 4]].tolist() == sample.allocated
    assert (np.diff(written["stratum"]) != 0).sum() > 50  # the order tells nothing of the class


def test_a_seed_draws_the_same_again_and_another_seed_does_not(grid):
    first, again, other = (draw_sample(grid.path, 10, None, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.xy, again.xy)
    assert not np.array_equal(first.xy, other.xy)


def test_the_way_a_file_is_stored_changes_no_point(grid, tmp_path):
    tiled = write_map(
        tmp_path / "t.tif", codes_of_a_map(), tiled=True, blockxsize=16, blockysize=16, compress="deflate"
    )
    assert np.array_equal(draw_sample(tiled, 20, 100, 1).xy, draw_sample(grid.path, 20, 100, 1).xy)
