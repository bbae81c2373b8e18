"""Boxes in degrees against the window that plain arithmetic over every pixel gives, and against a file that was cut."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform
from rasterio.windows import Window

from bandloom.errors import SceneError
from bandloom.shards.scenes import SceneOptions, open_scene
from bandloom.shards.scenes.cut import open_cut, parse_bbox
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle
from tests.view.command import run

SIDE = (200, 250)  # pixels, neither a multiple of a cell


@pytest.fixture(name="scene", scope="module")
def a_scene(tmp_path_factory):
    return write_stack(tmp_path_factory.mktemp("scene") / "scene.tif", SIDE)


def degrees(path):
    """Return longitude and latitude of every pixel's centre."""
    with rasterio.open(path) as file:
        rows, columns = np.mgrid[: file.height, : file.width]
        xs, ys = file.transform * (columns.ravel() + 0.5, rows.ravel() + 0.5)
        lon, lat = transform(file.crs, "EPSG:4326", xs.tolist(), ys.tolist())[:2]
    return np.reshape(lon, rows.shape), np.reshape(lat, rows.shape)


def box_of(path, window):
    """Return a box in degrees whose pixels all lie in a window of rows and columns."""
    lon, lat = (places[window] for places in degrees(path))
    return f"{lon.min()!r},{lat.min()!r},{lon.max()!r},{lat.max()!r}".replace("np.float64(", "").replace(")", "")


@pytest.mark.parametrize("window", [np.s_[50:100, 70:170], np.s_[0:33, 0:250], np.s_[150:200, 200:250]])
def test_the_cut_holds_every_pixel_of_the_box_in_whole_cells_and_little_more(scene, window):
    box = box_of(scene, window)
    west, south, east, north = parse_bbox(box)
    lon, lat = degrees(scene)
    rows, columns = np.nonzero((west <= lon) & (lon <= east) & (south <= lat) & (lat <= north))
    with open_cut(scene, SceneOptions(), box) as cut, open_scene(scene) as full:
        left, top = (cut.transform.c - full.transform.c) / 10, (full.transform.f - cut.transform.f) / 10
        right, bottom = left + cut.width_m / 10, top + cut.height_m / 10
        assert left <= columns.min() < columns.max() < right
        assert top <= rows.min() < rows.max() < bottom
        assert max(columns.min() - left, right - columns.max(), rows.min() - top, bottom - rows.max()) <= 9
        assert left % 6 == top % 6 == 0
        held = cut.read((60, 0, 120, 60))
        for gsd, expected in full.read((left * 10 + 60, top * 10, 120, 60)).items():
            np.testing.assert_array_equal(held[gsd], expected)
        assert cut.provenance["bbox"] == [west, south, east, north]
        assert cut.footprint[0] <= west < east <= cut.footprint[2]


@pytest.mark.parametrize("box", ["-180,-90,180,90", "0,-80,179,84", "99,13,102,14"])
def test_a_box_far_larger_than_the_scene_gives_all_of_it(scene, box):
    with open_cut(scene, SceneOptions(), box) as cut, open_scene(scene) as full:
        assert (cut.width_m, cut.height_m, cut.transform) == (full.width_m, full.height_m, full.transform)


def test_a_map_of_a_box_is_the_map_of_a_file_cut_to_it(scene, tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    box = box_of(scene, np.s_[61:119, 66:150])
    assert run("predict", bundle, scene, "--bbox", box, "--out", tmp_path / "map.tif", "--confidence") == 0
    with rasterio.open(tmp_path / "map.tif") as made, rasterio.open(scene) as full:
        grid, (height, width) = made.transform, made.shape
        left, top = (round(place) for place in ~full.transform * (grid.c, grid.f))
        profile = full.profile | {"height": height, "width": width, "transform": grid}
        with rasterio.open(tmp_path / "cut.tif", "w", **profile) as part:
            part.write(full.read(window=Window(left, top, width, height)))  # type: ignore[call-arg]
            part.descriptions = full.descriptions
            part.update_tags(**full.tags())
    assert (height % 6, width % 6) == (0, 0)
    assert run("predict", bundle, tmp_path / "cut.tif", "--out", tmp_path / "expected.tif", "--confidence") == 0
    for name in ("{}.tif", "{}.confidence.tif"):
        with (
            rasterio.open(tmp_path / name.format("map")) as one,
            rasterio.open(tmp_path / name.format("expected")) as other,
        ):
            assert one.transform == other.transform
            np.testing.assert_array_equal(one.read(), other.read())


def test_a_map_of_another_box_is_not_taken_for_this_ones(scene, tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    one, other = box_of(scene, np.s_[0:60, 0:60]), box_of(scene, np.s_[60:130, 0:60])
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "scene.tif").symlink_to(scene)
    words = ["predict", bundle, tmp_path / "scenes", "--out", tmp_path / "maps"]
    assert run(*words, "--bbox", one) == 0
    assert run(*words, "--bbox", one) == 0
    assert "left alone" in capsys.readouterr().out
    assert run(*words, "--bbox", other) == 2
    assert "scene.tif is there already, made with other options for reading the scene" in capsys.readouterr().err


def test_a_box_across_the_antimeridian_is_read_from_both_sides(tmp_path):
    path = write_stack(tmp_path / "scene.tif", (60, 120), epsg=32601)
    corner = transform("EPSG:4326", "EPSG:32601", [-180.0], [10.0])
    with rasterio.open(path, "r+") as file:
        file.transform = from_origin(round(corner[0][0] / 60) * 60 - 600, round(corner[1][0] / 60) * 60, 10, 10)
    with open_cut(path, SceneOptions(), "179.999,9.995,-179.999,9.999") as cut:
        assert 180 <= cut.width_m <= 360
    with pytest.raises(SceneError, match=r"holds nothing of --bbox 100,9\.995,101,9\.999"):
        open_cut(path, SceneOptions(), "100,9.995,101,9.999")


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,50,1,40", "-190,0,1,1", "3,0,3,1", "nan,0,1,1"])
def test_boxes_that_are_none_are_refused(text, scene):
    assert parse_bbox("14,44,16,46") == (14.0, 44.0, 16.0, 46.0)
    with pytest.raises(SceneError, match="write west,south,east,north"):
        open_cut(scene, SceneOptions(), text)


@pytest.mark.parametrize("box", ["0,0,1,1", "-81,-14,-80,-13", "100,88,101,89", "99,-14,102,-12"])
def test_ground_elsewhere_is_refused(scene, box):
    with pytest.raises(SceneError, match="scene holds nothing of --bbox"):
        open_cut(scene, SceneOptions(), box)
