"""Least area against a flood fill and plain counting."""

import numpy as np
import pytest

from bandloom.export.maps.class_grid import ClassGrid
from bandloom.export.products.least_area import absorb_small
from bandloom.export.products.patches import NOTHING, find_patches, labelled_strips
from tests.export.maps.maps import codes_of_a_map, write_map
from tests.export.products.test_patches import flood


@pytest.mark.parametrize("rows", [3, 90])
@pytest.mark.parametrize("least_ha", [0.02, 0.1, 0.5])
def test_no_patch_below_the_least_area_is_left_and_large_ones_keep_their_class(tmp_path, least_ha, rows):
    codes = codes_of_a_map()
    codes[40:60, 10:50] = 4
    grid = ClassGrid(write_map(tmp_path / "map.tif", codes))
    patches = find_patches(grid, least_ha, rows)
    merged, kind = absorb_small(patches, least_ha)
    hectares = np.bincount(merged, patches.hectares)
    assert hectares[kind != NOTHING].min() > least_ha - 1e-9
    large = (patches.hectares > least_ha - 1e-9) | (patches.kind == NOTHING)
    np.testing.assert_array_equal(kind[merged][large], patches.kind[large])
    assert hectares.sum() == pytest.approx(codes.size * 0.01)
    labels = np.vstack([merged[patches.of[strip.labels]] for strip in labelled_strips(grid, rows)])
    assert len(np.unique(flood(kind[labels]))) == labels.max() + 1  # what came to be of one class is one patch


def test_a_small_patch_takes_the_mode_of_the_pixels_around_it(tmp_path):
    """Seven of its eight border sides are water's, though the patch of tree beside it is far larger."""
    codes = np.full((12, 12), 1, np.uint8)
    codes[:, 7:] = 4
    codes[5, 4:7] = 2
    grid = ClassGrid(write_map(tmp_path / "map.tif", codes))
    patches = find_patches(grid, 0.1)
    merged, kind = absorb_small(patches, 0.1)
    (strip,) = labelled_strips(grid)
    expected = np.where(codes == 2, 1, codes)
    np.testing.assert_array_equal(np.array([1, 2, 4])[kind[merged[patches.of[strip.labels]]]], expected)


def test_a_patch_alone_in_ground_without_a_class_stays(tmp_path):
    codes = np.full((9, 9), 255, np.uint8)
    codes[4, 4:6] = 2
    patches = find_patches(ClassGrid(write_map(tmp_path / "map.tif", codes)), 1.0)
    merged, kind = absorb_small(patches, 1.0)
    assert sorted(kind.tolist()) == [NOTHING, 0]
    assert len(merged) == 2
