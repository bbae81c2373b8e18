"""A map of values on the page: every pixel has the colour of its value, and the legend says the unit."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform

from bandloom.errors import SceneError
from bandloom.target import RAMP, Target
from bandloom.view.server import Views
from bandloom.view.standalone import view_of
from bandloom.view.tiles import class_picture
from bandloom.view.value_map import LEVELS, NOTHING, STEPS, ValueMap, open_map, ramp

TARGET = Target(name="canopy height", unit="m", mean=10, std=5, low=0.0, high=20.0)


@pytest.fixture(name="path")
def a_map(tmp_path) -> Path:
    """Values that rise from west to east, 0 to 20 m and beyond, and a hole."""
    values = np.tile(np.linspace(-2, 22, 120, dtype=np.float32), (60, 1))
    values[:10, :10] = np.nan
    path = tmp_path / "height.tif"
    profile = {"driver": "GTiff", "height": 60, "width": 120, "count": 1, "dtype": "float32", "nodata": np.nan}
    grid = from_origin(500_000, 5_000_000, 10, 10)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=grid, **profile) as raster:
        raster.write(values, 1)
        raster.update_tags(TARGET=TARGET.model_dump_json())
    return path


def place(row: int, column: int) -> tuple[float, float]:
    (longitude,), (latitude,) = transform(
        "EPSG:32633", "EPSG:4326", [500_000 + 10 * column + 5], [5_000_000 - 10 * row - 5]
    )
    return longitude, latitude


def test_the_ramp_goes_through_its_colours_from_low_to_high():
    colours = ramp(LEVELS)
    for index, colour in zip(np.linspace(0, LEVELS - 1, len(RAMP)).round().astype(int), RAMP, strict=True):
        expected = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(colours[index].astype(int) - expected).max() <= 2


def test_levels_rise_with_the_value_and_end_where_the_ramp_ends(path):
    held = open_map(path)
    assert isinstance(held, ValueMap)
    values = np.array([-5.0, 0.0, 5.0, 10.0, 19.99, 20.0, 50.0, np.nan], np.float32)
    assert held.codes(values).tolist() == [0, 0, 62, 125, 249, 249, 249, NOTHING]
    assert held.keys(values).tolist() == [0, 0, 2, 5, 9, 9, 9, NOTHING]


def test_values_of_a_small_unit_take_the_whole_ramp(path):
    with rasterio.open(path, "r+") as raster:
        raster.write(raster.read(1) * np.float32(1e-14), 1)
        raster.update_tags(TARGET=TARGET.model_copy(update={"high": 20e-14}).model_dump_json())
    values = np.array([0.0, 5e-14, 10e-14, 50e-14], np.float32)
    assert open_map(path).codes(values).tolist() == [0, 62, 125, 249]


def test_the_legend_counts_every_pixel_once_and_says_the_unit(path):
    held = open_map(path)
    assert len(held.classes) == STEPS
    assert sum(land_class.pixels for land_class in held.classes) == 60 * 120 - 100
    assert held.classes[0].name == "below 2 m"
    assert held.classes[4].name == "8 to 10 m"
    assert held.classes[-1].name == "above 18 m"
    with rasterio.open(path) as raster:
        values = raster.read(1)
    assert held.classes[4].pixels == int(((values >= 8) & (values < 10)).sum())
    assert held.classes[4].hectares == held.classes[4].pixels / 100


def test_a_place_has_its_value_in_the_unit(path):
    held = open_map(path)
    found = held.at(*place(30, 60))
    assert found is not None
    with rasterio.open(path) as raster:
        assert found["name"] == f"{raster.read(1)[30, 60]:.4g} m"
    assert held.at(*place(2, 2)) == {"value": NOTHING, "name": "no data", "colour": None}
    assert held.at(0.0, 0.0) is None


def test_a_picture_is_clear_where_nothing_was_measured_and_where_a_step_is_hidden(path):
    held = open_map(path)
    bounds, size = view_of(held.bounds, 240)
    whole, part = (class_picture(held, bounds, size, shown) for shown in (None, {4}))
    assert (whole[size[0] // 2, size[1] // 2, 3], whole[4, 4, 3]) == (255, 0)
    assert 0 < (part[..., 3] > 0).sum() < 0.2 * (whole[..., 3] > 0).sum()
    shades = {tuple(pixel) for pixel in whole[size[0] // 2, :, :3].tolist()}
    assert len(shades) > 3 * STEPS  # continuous, not the legend's steps


def test_the_page_is_told_names_colours_and_areas(path):
    record = Views([open_map(path)], None).record()
    (told,) = record["maps"]
    assert [land_class["name"] for land_class in told["classes"]][4] == "8 to 10 m"
    assert json.loads(json.dumps(told)) == told


def test_a_float_raster_that_does_not_say_what_it_measures_is_no_map(path):
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(TARGET="")
    with pytest.raises(SceneError, match="does not say what it measures"):
        open_map(path)
