"""Patches and their borders against a naive flood fill, however the map is cut into strips."""

import numpy as np
import pytest

from bandloom.export.maps.class_grid import ClassGrid
from bandloom.export.products.patches import NOTHING, find_patches, labelled_strips
from tests.export.maps.maps import codes_of_a_map, write_map


def flood(codes: np.ndarray) -> np.ndarray:
    """Return labels of pixels connected by their sides, one pixel after the other."""
    labels = np.full(codes.shape, -1)
    for row, column in np.ndindex(*codes.shape):
        if labels[row, column] >= 0:
            continue
        label, todo = labels.max() + 1, [(row, column)]
        while todo:
            r, c = todo.pop()
            inside = 0 <= r < codes.shape[0] and 0 <= c < codes.shape[1]
            if inside and labels[r, c] < 0 and codes[r, c] == codes[row, column]:
                labels[r, c] = label
                todo += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    return labels


def borders_of(labels: np.ndarray, valid: np.ndarray) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for here, there in (((..., slice(1, None)), (..., slice(None, -1))), (slice(1, None), slice(None, -1))):
        for one, other, known in zip(
            labels[here].ravel().tolist(),
            labels[there].ravel().tolist(),
            (valid[here] & valid[there]).ravel().tolist(),
            strict=True,
        ):
            if known and one != other:
                found[min(one, other), max(one, other)] = found.get((min(one, other), max(one, other)), 0) + 1
    return found


@pytest.mark.parametrize("rows", [1, 7, 90])
def test_patches_and_borders_are_those_of_a_flood_fill(tmp_path, rows):
    codes = codes_of_a_map()
    grid = ClassGrid(write_map(tmp_path / "map.tif", codes))
    patches = find_patches(grid, 1e9, rows)
    labels = np.vstack([patches.of[strip.labels] for strip in labelled_strips(grid, rows)])
    expected = flood(codes)
    same = {(ours, theirs) for ours, theirs in zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True)}
    assert len(same) == labels.max() + 1 == expected.max() + 1
    np.testing.assert_allclose(patches.hectares, np.bincount(labels.ravel()) * 0.01)
    kinds = np.where(codes == 255, NOTHING, np.searchsorted([1, 2, 4], codes))
    np.testing.assert_array_equal(patches.kind[labels], kinds)
    found = {tuple(pair): length for pair, length in zip(patches.borders.tolist(), patches.lengths, strict=True)}
    assert found == borders_of(labels, codes != 255)
