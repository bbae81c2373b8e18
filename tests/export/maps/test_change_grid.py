"""Two maps as one, against plain arithmetic on their pixels."""

import numpy as np
import pytest
from affine import Affine

from bandloom.errors import SceneError
from bandloom.export.maps.change_grid import PAIR, ChangeGrid
from tests.export.maps.maps import NAMES, UTM, codes_of_a_map, write_map


def later_codes() -> np.ndarray:
    codes = codes_of_a_map()
    codes[30:50, 5:40][codes[30:50, 5:40] == 2] = 4
    codes[80:, :] = 255
    return codes


def test_classes_are_what_became_what(tmp_path):
    old, new = codes_of_a_map(), later_codes()
    grid = ChangeGrid(write_map(tmp_path / "old.tif", old), write_map(tmp_path / "new.tif", new))
    both = (old != 255) & (new != 255)
    expected = {
        (a, b): int((both & (old == a) & (new == b)).sum()) for a in NAMES for b in NAMES if a == b or (a, b) == (2, 4)
    }
    assert {
        (land_class.code // PAIR, land_class.code % PAIR): land_class.pixels for land_class in grid.classes
    } == expected
    assert {land_class.name for land_class in grid.classes} == {
        "water stays",
        "crop stays",
        "tree stays",
        "crop to tree",
    }
    rows, columns = np.array([35, 85, 2, 500]), np.array([20, 20, 2, 2])
    codes, valid = grid.codes_at(rows, columns)
    assert valid.tolist() == [True, False, False, False]
    assert codes[0] == int(old[35, 20]) * PAIR + int(new[35, 20])


def test_an_earlier_map_on_another_grid_is_read_by_its_nearest_pixel(tmp_path):
    """Half the pixels in each direction, begun two of them further on; beyond it nothing is valid."""
    old = codes_of_a_map()[10:, 6:]
    coarse = old[: 2 * (len(old) // 2) : 2, ::2]
    grid = Affine(20, 0, UTM.c + 60, 0, -20, UTM.f - 100)
    both = ChangeGrid(
        write_map(tmp_path / "old.tif", coarse, grid=grid), write_map(tmp_path / "new.tif", codes_of_a_map())
    )
    ((_, codes, valid),) = both.strips()
    expected = coarse.repeat(2, 0).repeat(2, 1)
    inside = (expected != 255) & (codes_of_a_map()[10:, 6:] != 255)
    np.testing.assert_array_equal(valid[10:, 6:], inside)
    np.testing.assert_array_equal((codes[10:, 6:] // PAIR)[inside], expected[inside])
    assert not valid[:10].any()
    assert not valid[:, :6].any()


def test_maps_that_name_one_code_differently_or_share_no_ground_are_refused(tmp_path, monkeypatch):
    path = write_map(tmp_path / "new.tif", codes_of_a_map())
    monkeypatch.setitem(NAMES, 4, "shrub")
    other = write_map(tmp_path / "old.tif", codes_of_a_map())
    with pytest.raises(SceneError, match=r"the code 4 is 'shrub' in .*old\.tif and 'tree' in .*new\.tif"):
        ChangeGrid(other, path)
    monkeypatch.undo()
    far = write_map(tmp_path / "far.tif", codes_of_a_map(), grid=Affine.translation(1e5, 0) * UTM)
    with pytest.raises(SceneError, match=r"far\.tif and .*new\.tif share no ground with a class"):
        _ = ChangeGrid(far, path).classes


def test_one_class_under_two_codes_is_refused_rather_than_taken_for_change(tmp_path, monkeypatch):
    later = write_map(tmp_path / "new.tif", codes_of_a_map())
    codes = codes_of_a_map()
    codes[codes == 4] = 3
    monkeypatch.delitem(NAMES, 4)
    monkeypatch.setitem(NAMES, 3, "Tree")
    earlier = write_map(tmp_path / "old.tif", codes)
    with pytest.raises(SceneError, match=r"the class 'tree' has the code 3 in .*old\.tif and 4 in .*new\.tif"):
        ChangeGrid(earlier, later)
