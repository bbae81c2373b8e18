"""Polygons burnt to pixels by the build, held against a rule of geometry written out here."""

import json

import numpy as np
import pytest
from rasterio.warp import transform, transform_geom

from bandloom.errors import BandloomError
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet

LABEL_SET = """
name: two
classes:
- {code: 10, name: field, colour: "#00ff00"}
- {code: 20, name: water, colour: "#0000ff"}
"""
CORNER = 500_040.0, 5_300_040.0  # of write_stack's scene, 108 x 96 pixels


@pytest.fixture
def scene(tmp_path, write_stack):
    (tmp_path / "classes.yaml").write_text(LABEL_SET)
    return write_stack(tmp_path / "scene.tif")


def box(left, top, right, bottom):
    """A rectangle in metres right of and below the scene's corner."""
    xs, ys = (CORNER[0] + left, CORNER[0] + right), (CORNER[1] - top, CORNER[1] - bottom)
    ring = [(xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1]), (xs[0], ys[1]), (xs[0], ys[0])]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(geometry, value, field="class"):
    return {"type": "Feature", "geometry": geometry, "properties": {field: value}}


def write_geojson(path, features, crs=None):
    named = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features} | named))
    return path


def wanted(*boxes):
    """Class indices of a scene of 108 x 96 pixels: that of the last box that a pixel's centre lies in."""
    y, x = np.mgrid[:96, :108] * 10 + 5
    labels = np.full((96, 108), 255, np.uint8)
    for left, top, right, bottom, index in boxes:
        labels[(x > left) & (x < right) & (y > top) & (y < bottom)] = index
    return labels


def built(tmp_path, scene, labels, **options):
    out = tmp_path / "out"
    build([str(scene)], out, BuildOptions(60, labels=str(labels), label_set=str(tmp_path / "classes.yaml"), **options))
    found = ShardSet(out)
    whole = np.full((120, 120), 255, np.uint8)
    for i, entry in enumerate(found.entries):
        row, column = (round(abs(a - b) / 10) for a, b in ((entry.y_m, CORNER[1]), (entry.x_m, CORNER[0])))
        whole[row : row + 60, column : column + 60] = found.read(i).label
    assert not (whole[96:] != 255).any()
    return found, whole[:96, :108]


def test_polygons_of_names_and_codes_give_the_class_to_the_pixels_whose_centre_they_hold(tmp_path, scene):
    boxes = [(0, 0, 404, 306, "Field"), (200, 100, 700, 958, 20), (-500, 900, 50, 2000, "10")]
    features = [feature(box(*edges), value) for *edges, value in boxes]
    path = write_geojson(tmp_path / "all.geojson", features, "EPSG:32633")
    found, labels = built(tmp_path, scene, path)
    np.testing.assert_array_equal(
        labels, wanted((0, 0, 404, 306, 0), (200, 100, 700, 958, 1), (-500, 900, 50, 2000, 0))
    )
    assert [entry.has_label for entry in found.entries] == [True, True, True, True]
    assert found.manifest["labelled"] == 4


def test_degrees_holes_points_and_other_fields_are_understood(tmp_path, scene):
    outer, hole = box(103, 103, 597, 597), box(203, 203, 297, 297)
    outer["coordinates"].append(hole["coordinates"][0][::-1])
    placed = transform_geom("EPSG:32633", "EPSG:4326", outer, precision=9)
    lon, lat = transform("EPSG:32633", "EPSG:4326", [CORNER[0] + 805], [CORNER[1] - 15])
    point = {"type": "Point", "coordinates": (lon[0], lat[0])}
    features = [feature(placed, "water", "cover"), feature(point, "field", "cover")]
    folder = tmp_path / "labels"
    folder.mkdir()
    write_geojson(folder / "scene.geojson", features)
    _, labels = built(tmp_path, scene, folder, label_field="cover")
    right = wanted((103, 103, 597, 597, 1), (203, 203, 297, 297, 255), (800, 10, 810, 20, 0))
    assert (labels != right).sum() <= 8  # lines that are straight in degrees bend in metres, by centimetres here
    assert labels[1, 80] == 0


def test_a_geopackage_gives_what_the_same_geojson_gives(tmp_path, scene):
    raw = pytest.importorskip("pyogrio.raw", reason="needs pyogrio: pip install 'bandloom[vector]'")
    shapely = pytest.importorskip("shapely")
    boxes = [(0, 0, 404, 306, "field"), (200, 100, 700, 958, "water")]
    shapes = [box(*edges) for *edges, _ in boxes]
    wkb = np.array([shapely.to_wkb(shapely.geometry.shape(shape)) for shape in shapes], object)
    raw.write(
        tmp_path / "all.gpkg",
        wkb,
        [np.array([value for *_, value in boxes], object)],
        ["class"],
        geometry_type="Polygon",
        crs="EPSG:32633",
        driver="GPKG",
    )
    _, labels = built(tmp_path, scene, tmp_path / "all.gpkg")
    np.testing.assert_array_equal(labels, wanted((0, 0, 404, 306, 0), (200, 100, 700, 958, 1)))


@pytest.mark.parametrize(
    ("features", "crs", "says"),
    [
        ([feature(box(0, 0, 90, 90), "snow")], "EPSG:32633", "'snow' is no class of label set 'two'"),
        ([feature(box(0, 0, 90, 90), "water", "kind")], "EPSG:32633", r"no attribute 'class' \(it has kind\)"),
        ([feature(box(0, 0, 90, 90), "water")], None, "are no degrees|no valid geometry"),
        ([feature({"type": "Polygon", "coordinates": [[1, 2]]}, "water")], "EPSG:32633", "no valid geometry"),
        ([feature(box(9000, 0, 9900, 90), "water")], "EPSG:32633", "labels nothing on scene scene"),
        ([], None, "holds no features"),
    ],
)
def test_polygons_that_cannot_be_used_are_one_sentence(tmp_path, scene, features, crs, says):
    (tmp_path / "labels").mkdir()
    write_geojson(tmp_path / "labels" / "scene.geojson", features, crs)
    with pytest.raises(BandloomError, match=says):
        built(tmp_path, scene, tmp_path / "labels")


def test_files_that_are_no_vectors_are_one_sentence(tmp_path, scene):
    (tmp_path / "all.geojson").write_text("[]")
    with pytest.raises(BandloomError, match="no GeoJSON feature collection"):
        built(tmp_path, scene, tmp_path / "all.geojson")
    (tmp_path / "labels").mkdir()
    with pytest.raises(BandloomError, match=r"no labels at .*scene\.tif"):
        built(tmp_path, scene, tmp_path / "labels")
