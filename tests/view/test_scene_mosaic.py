"""Several scenes under one map: the first that measured a pixel shows it."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform

from bandloom.errors import SceneError
from bandloom.view.class_map import ClassMap
from bandloom.view.scene_bands import SceneBands
from bandloom.view.scene_mosaic import SceneMosaic, scenes_under
from bandloom.view.server import Views
from bandloom.view.standalone import view_of
from bandloom.view.tiles import class_means, scene_picture
from tests.view.comparison.test_maps import write_map

BANDS = ("B04", "B03", "B02")
EAST, NORTH = 600_000, 4_200_000


def write_scene(path: Path, dn: int, column: int, width: int, bands: tuple[str, ...] = BANDS) -> Path:
    """Write a scene of one value (10 more a band) whose left edge lies at a column of the map's grid."""
    grid = {"crs": "EPSG:32630", "transform": from_origin(EAST + 10 * column, NORTH, 10, 10), "nodata": 0}
    shape = {"height": 40, "width": width, "count": len(bands), "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **grid) as file:
        for index, name in enumerate(bands, 1):
            file.write(np.full((40, width), dn + 10 * index, np.uint16), index)
            file.set_band_description(index, name)
    return path


@pytest.fixture
def mosaic(tmp_path: Path) -> tuple[ClassMap, list[Path]]:
    """A map of 100 columns over two scenes, of columns 0 to 59 and 40 to 99."""
    write_map(tmp_path / "m.tif", np.repeat([1, 2], 50)[None].repeat(40, 0).astype(np.uint8))
    scenes = [write_scene(tmp_path / "west.tif", 1000, 0, 60), write_scene(tmp_path / "east.tif", 3000, 40, 60)]
    return ClassMap(tmp_path / "m.tif"), scenes


def place(column: float) -> tuple[float, float]:
    (longitude,), (latitude,) = transform("EPSG:32630", "EPSG:4326", [EAST + 10 * column], [NORTH - 200])[:2]
    return longitude, latitude


def test_the_first_scene_that_measured_a_place_tells_its_spectrum_and_the_other_the_rest(mosaic):
    shown, paths = mosaic
    scene = scenes_under(paths, shown)
    told = [[bar["dn"] for bar in scene.spectrum(*place(column))] for column in (10.5, 50.5, 80.5, 130.5)]
    assert told == [[1030, 1020, 1010], [1030, 1020, 1010], [3030, 3020, 3010], []]
    other_way = scenes_under(paths[::-1], shown)
    assert [bar["dn"] for bar in other_way.spectrum(*place(50.5))] == [3030, 3020, 3010]


def test_the_picture_and_the_means_of_classes_are_of_both_scenes(mosaic):
    shown, paths = mosaic
    scene = scenes_under(paths, shown)
    bounds, size = view_of(shown.bounds, 300)
    drawn = scene_picture(scene, BANDS, bounds, size)
    middle = drawn[size[0] // 2]
    assert (middle[8:-8, 3] == 255).all()
    assert set(middle[20 : 3 * 55, 0].tolist()) == {0}  # both are stretched alike: the west is black, the east white
    assert set(middle[3 * 65 : -20, 0].tolist()) == {255}
    means = class_means(shown, scene)
    assert means[1]["B04"] == 1010
    assert means[2]["B04"] == pytest.approx((10 * 1010 + 40 * 3010) / 50, rel=0.03)


def test_a_page_names_both_scenes_and_its_bounds_are_those_of_both(mosaic):
    shown, paths = mosaic
    scene = scenes_under(paths, shown)
    record = Views([shown], scene).record()
    assert record["scene"] == "west and east"
    assert record["composites"][0] == "true colour"
    alone = [SceneBands(path).bounds for path in paths]
    assert scene.bounds[0] == alone[0][0]
    assert scene.bounds[2] == alone[1][2]


def test_the_mosaics_own_tags_say_which_band_lies_where_in_which_scene(mosaic, tmp_path: Path):
    shown, paths = mosaic
    named = [{"name": name, "slot": name, "centre_nm": 600} for name in BANDS]
    turned = [band | {"file": "", "index": 3 - i} for i, band in enumerate(named)]
    straight = [band | {"file": "", "index": i + 1} for i, band in enumerate(named)]
    maps = [{"map": "a.tif", "scene": "west", "bands": straight}, {"map": "b.tif", "scene": "east", "bands": turned}]
    with rasterio.open(shown.path, "r+") as file:
        file.update_tags(MOSAIC=json.dumps({"rule": "first", "maps": maps}))
    scene = scenes_under(paths, ClassMap(shown.path))
    west, east = ({bar["band"]: bar["dn"] for bar in scene.spectrum(*place(column))} for column in (10.5, 80.5))
    assert west == {"B04": 1010, "B03": 1020, "B02": 1030}
    assert east == {"B04": 3030, "B03": 3020, "B02": 3010}


def test_scenes_without_a_band_in_common_are_refused(tmp_path: Path):
    one = SceneBands(write_scene(tmp_path / "a.tif", 1, 0, 9, ("B02",)))
    other = SceneBands(write_scene(tmp_path / "b.tif", 1, 0, 9, ("B03",)))
    with pytest.raises(SceneError, match=r"have no band in common; name scenes of one sensor"):
        SceneMosaic([one, other])
    assert scenes_under([], None) is None
