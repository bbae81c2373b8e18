"""Areas of pixels against the closed form of the ellipsoid, and what has no area."""

import numpy as np
import pytest
from affine import Affine
from rasterio.warp import transform

from bandloom.errors import SceneError
from bandloom.export.maps.class_grid import ClassGrid
from tests.export.maps.maps import codes_of_a_map, write_map


def zone_m2(south: float, north: float, degrees: float) -> float:
    """Return the area between two parallels over some degrees of longitude (Snyder 1987, equation 3-12)."""
    a, f = 6_378_137.0, 1 / 298.257223563
    e = np.sqrt(f * (2 - f))

    def q(latitude: float) -> float:
        s = np.sin(np.radians(latitude))
        return (1 - e**2) * (s / (1 - (e * s) ** 2) - np.log((1 - e * s) / (1 + e * s)) / (2 * e))

    return float(np.radians(degrees) * a**2 / 2 * (q(north) - q(south)))


def test_rows_of_a_grid_in_degrees_have_their_area_on_the_ellipsoid(tmp_path):
    step = 0.25
    codes = np.ones((90, 4), np.uint8)
    grid = ClassGrid(write_map(tmp_path / "map.tif", codes, "EPSG:4326", Affine(step, 0, 100, 0, -step, 80)))
    expected = [zone_m2(80 - step * (row + 1), 80 - step * row, step) / 1e4 for row in range(90)]
    np.testing.assert_allclose(grid.row_ha, expected, rtol=1e-7)
    assert grid.classes[0].hectares == pytest.approx(4 * sum(expected), rel=1e-7)


def test_a_global_map_whose_first_row_reaches_beyond_the_pole_has_the_area_of_the_earth(tmp_path):
    codes = np.ones((181, 360), np.uint8)
    grid = ClassGrid(write_map(tmp_path / "map.tif", codes, "EPSG:4326", Affine(1, 0, -180, 0, -1, 90.5)))
    assert grid.row_ha[0] == pytest.approx(zone_m2(89.5, 90, 1) / 1e4, rel=1e-6)
    assert grid.row_ha.sum() * 360 == pytest.approx(zone_m2(-90, 90, 360) / 1e4, rel=1e-9)


def test_pixels_and_hectares_of_each_class_leave_no_data_out(tmp_path):
    codes = codes_of_a_map()
    grid = ClassGrid(write_map(tmp_path / "map.tif", codes))
    assert [(land_class.code, land_class.name, land_class.pixels) for land_class in grid.classes] == [
        (code, name, int((codes == code).sum())) for code, name in ((1, "water"), (2, "crop"), (4, "tree"))
    ]
    assert [land_class.hectares for land_class in grid.classes] == pytest.approx(
        [land_class.pixels * 0.01 for land_class in grid.classes]
    )


def test_a_grid_in_feet_is_measured_in_metres(tmp_path):
    x, y = (axis[0] for axis in transform("EPSG:4326", "EPSG:2263", [-74.0], [40.7]))
    grid = ClassGrid(write_map(tmp_path / "map.tif", codes_of_a_map(), "EPSG:2263", Affine(100, 0, x, 0, -100, y)))
    assert grid.row_ha[0] == pytest.approx((100 * 1200 / 3937) ** 2 / 1e4)


def test_a_projection_that_distorts_areas_is_refused(tmp_path):
    path = write_map(tmp_path / "map.tif", codes_of_a_map(), "EPSG:3857", Affine(10, 0, 1e6, 0, -10, 8e6))
    with pytest.raises(SceneError, match=r"EPSG:3857, which makes a pixel of .* m2 look like 100 m2; bring it to UTM"):
        ClassGrid(path)


def test_what_is_no_map_of_classes_is_refused(tmp_path):
    with pytest.raises(SceneError, match="float32; a map of classes has one band of whole numbers"):
        ClassGrid(write_map(tmp_path / "map.tif", np.ones((4, 4), np.float32)))
    with pytest.raises(SceneError, match="cannot be read as a raster"):
        ClassGrid(tmp_path / "absent.tif")
    many = np.arange(400, dtype=np.uint16).reshape(20, 20)
    with pytest.raises(SceneError, match="holds more than 250 values; name a map of classes"):
        _ = ClassGrid(write_map(tmp_path / "many.tif", many)).classes
    with pytest.raises(SceneError, match="no valid pixel"):
        _ = ClassGrid(write_map(tmp_path / "empty.tif", np.full((4, 4), 255, np.uint8))).classes


def test_a_map_that_was_compressed_with_loss_is_refused(tmp_path):
    path = write_map(tmp_path / "map.tif", codes_of_a_map(), compress="jpeg", blockysize=16)
    with pytest.raises(SceneError, match=r"the map .* is compressed with loss"):
        ClassGrid(path)
