"""Scenes whose files say in every way that GDAL knows where nothing was measured."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from bandloom.shards.scenes import open_scene
from tests.shards.conftest import L1C

UTM = {"crs": "EPSG:32633", "transform": from_origin(500_040, 5_300_040, 10, 10)}
DEGREES = {"crs": "EPSG:4326", "transform": from_origin(15.0, 47.8, 0.000134, 0.00009)}
SIDE = 120
HOLE = np.s_[36:72, 24:60]  # whole samples of 60 m


def write(path, kind, place, dtype="uint16", offset="-1000"):
    """A scene of 13 bands with a hole that only ``kind`` tells, full of a value that no ground has."""
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = np.stack([1500 + 90 * band + y + x for band in range(13)]).astype(dtype)
    pixels[10] = 1010 + x % 5
    pixels -= 1000 if offset == "0" else 0
    known = np.ones((SIDE, SIDE), bool)
    known[HOLE] = False
    nodata = {"nodata": -9999 if dtype == "int16" else 9, "nan": float("nan")}.get(kind)
    pixels[:, ~known] = nodata if nodata is not None else 9000
    count = 14 if kind == "alpha" else 13
    with rasterio.open(path, "w", "GTiff", SIDE, SIDE, count, dtype=dtype, nodata=nodata, **place) as raster:
        raster.update_tags(RADIO_ADD_OFFSET=offset)
        for index, name in enumerate(L1C, 1):
            raster.set_band_description(index, name)
            raster.write(pixels[index - 1], index)
        if kind == "alpha":
            raster.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 12, ColorInterp.alpha]
            raster.write(np.where(known, 65535, 0).astype(dtype), 14)
    if kind in ("internal", "sidecar"):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "internal"), rasterio.open(path, "r+") as raster:
            raster.write_mask(known)
    return pixels.astype(np.int64), known


def blocks(array, factor):
    return array.reshape(*array.shape[:-2], SIDE // factor, factor, SIDE // factor, factor)


@pytest.mark.parametrize("kind", ["nodata", "internal", "sidecar", "alpha"])
@pytest.mark.parametrize(("dtype", "offset"), [("uint16", "-1000"), ("int16", "0"), ("int16", "-1000")])
def test_what_a_mask_of_any_kind_hides_is_absent_and_the_rest_as_it_was(tmp_path, kind, dtype, offset):
    if (kind, dtype) == ("alpha", "int16"):
        pytest.skip("an alpha band of 16 signed bits is not opaque at 65535")
    pixels, known = write(tmp_path / "a.tif", kind, UTM, dtype, offset)
    with open_scene(tmp_path / "a.tif") as scene:
        groups = scene.read((0, 0, SIDE * 10, SIDE * 10))
    stored = pixels + int(offset) + 1000
    for group in scene.sensor.groups:
        factor = group.gsd_m // 10
        bands = [L1C.index(band.name) for band in group.bands]
        means = np.floor(blocks(stored[bands], factor).mean((2, 4)) + 0.5)
        whole = blocks(known, factor).all((1, 3))
        np.testing.assert_array_equal(groups[group.gsd_m][:, ~whole], 0)
        np.testing.assert_array_equal(groups[group.gsd_m][:, whole], means[:, whole])


@pytest.mark.parametrize("kind", ["nodata", "internal", "sidecar", "alpha"])
def test_a_warp_mixes_nothing_of_what_is_hidden_into_the_rest(tmp_path, kind):
    _, known = write(tmp_path / "a.tif", kind, DEGREES)
    write(tmp_path / "whole.tif", "none", DEGREES)
    with open_scene(tmp_path / "a.tif") as scene, open_scene(tmp_path / "whole.tif", nodata="none") as whole:
        blue, everywhere = (each.read((0, 0, each.width_m, each.height_m))[10][0] for each in (scene, whole))
    seen = blue[blue != 0]
    assert seen.max() < 2200  # 9000 was there
    assert seen.min() >= 1500
    assert seen.size / (everywhere != 0).sum() == pytest.approx(known.mean(), abs=0.02)


def test_zero_is_a_value_where_another_one_is_said_to_be_absent_and_numbers_have_signs(tmp_path):
    pixels = np.full((13, 60, 60), 700, np.int16)
    pixels[10], pixels[1, 0, 0], pixels[1, 0, 1], pixels[1, 0, 2] = 12, 0, -9999, -50
    for nodata, zero in ((-9999, 1000), (None, 0)):
        pixels[1, 0, 1] = -9999 if nodata else 0
        path = tmp_path / f"{nodata}.tif"
        with rasterio.open(path, "w", "GTiff", 60, 60, 13, dtype="int16", nodata=nodata, **UTM) as raster:
            raster.write(pixels)
            raster.descriptions = L1C
        with open_scene(path) as scene:
            assert scene.read((0, 0, 600, 600))[10][0, 0, :4].tolist() == [zero, 0, 950, 1700]
