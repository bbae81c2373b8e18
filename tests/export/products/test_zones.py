"""Areas of zones against a naive loop over pixels and zones."""

import csv
import json
from dataclasses import replace

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from rasterio.warp import transform, transform_geom

from bandloom.errors import LabelError
from bandloom.export.maps.class_grid import ClassGrid
from bandloom.export.products.zone_table import columns_of
from bandloom.export.products.zones import zone_areas
from bandloom.shards.labels.reading import LabelReading
from tests.export.maps.maps import NAMES, UTM, codes_of_a_map, write_map
from tests.view.command import run

NAMED = LabelReading(field="name")


def zones_in_pixels() -> list[shapely.Polygon]:
    """Return zones in columns and rows: two that overlap, one with a hole, one in two parts, one half off the map."""
    ring = shapely.box(20, 30, 50, 70)
    parts = shapely.MultiPolygon([shapely.box(2, 60, 9, 70), shapely.box(15, 60, 22, 75)])
    odd = shapely.Polygon([(3.3, 2.1), (44.9, 17.7), (31.2, 48.4)])
    return [odd, ring.difference(shapely.box(30, 40, 40, 50)), parts, shapely.box(50.3, 70.3, 200, 300)]


def write_zones_file(path, crs="EPSG:4326", grid=UTM, own="EPSG:32647"):
    shapes = [shapely.transform(zone, lambda xy: np.stack(grid * tuple(xy.T), axis=1)) for zone in zones_in_pixels()]
    features = [
        {
            "type": "Feature",
            "geometry": transform_geom(own, crs, shapely.geometry.mapping(shape)),
            "properties": {"name": f"zone {number}"},
        }
        for number, shape in enumerate(shapes)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def naive(codes: np.ndarray) -> np.ndarray:
    """Return pixels by zone and class, asking of every pixel whether a zone holds its centre."""
    counts = np.zeros((4, 3))
    for number, zone in enumerate(zones_in_pixels()):
        for row, column in np.ndindex(*codes.shape):
            if codes[row, column] != 255 and zone.contains(shapely.Point(column + 0.5, row + 0.5)):
                counts[number, sorted(NAMES).index(int(codes[row, column]))] += 1
    return counts


def test_hectares_are_those_of_the_pixels_whose_centres_lie_in_a_zone(tmp_path):
    codes = codes_of_a_map()
    areas = zone_areas(write_map(tmp_path / "map.tif", codes), write_zones_file(tmp_path / "zones.geojson"), NAMED)
    expected = naive(codes)
    np.testing.assert_allclose(areas.class_ha, expected * 0.01, atol=1e-9)
    np.testing.assert_allclose(areas.shares, expected / expected.sum(1, keepdims=True))
    plane = [zone.area * 0.01 for zone in zones_in_pixels()]
    np.testing.assert_allclose(
        areas.zone_ha, plane, rtol=2e-3
    )  # UTM makes its middle smaller by 0.04 %, its edge larger
    (warning,) = areas.warnings()
    assert warning.startswith("2 of 4 zones are mapped in part only (the first, zone 0, to 92%): their")


def test_zones_cut_into_windows_are_the_same(tmp_path, monkeypatch):
    path, zones = write_map(tmp_path / "map.tif", codes_of_a_map()), write_zones_file(tmp_path / "zones.geojson")
    before = zone_areas(path, zones, NAMED).class_ha
    monkeypatch.setattr("bandloom.export.products.zones.WINDOW_PIXELS", 100)
    np.testing.assert_allclose(zone_areas(path, zones, NAMED).class_ha, before)


def test_a_map_in_degrees_has_areas_on_the_ellipsoid(tmp_path):
    grid = Affine(0.001, 0, 100.0, 0, -0.001, 60.0)
    path = write_map(tmp_path / "map.tif", codes_of_a_map(), "EPSG:4326", grid)
    zones = write_zones_file(tmp_path / "zones.geojson", grid=grid, own="EPSG:4326")
    areas = zone_areas(path, zones, NAMED)
    row_ha = ClassGrid(path).row_ha  # the zone is 30 x 40 pixels with a hole of 10 x 10
    expected = 30 * row_ha[30:70].sum() - 10 * row_ha[40:50].sum()
    assert areas.zone_ha[1] == pytest.approx(expected, rel=1e-6)
    assert areas.mapped_ha[1] == pytest.approx(expected, rel=1e-9)


def test_the_command_writes_a_table_and_the_zones_with_columns(tmp_path, capsys):
    path, zones = write_map(tmp_path / "map.tif", codes_of_a_map()), write_zones_file(tmp_path / "zones.geojson")
    expected = naive(codes_of_a_map())
    for suffix in ("csv", "gpkg"):
        assert run("zones", path, zones, "--name", "name", "--out", tmp_path / f"out.{suffix}") == 0
    assert "zone 1" in capsys.readouterr().out
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["zone"] for row in rows] == [f"zone {number}" for number in range(4)]
    for index, name in enumerate(NAMES.values()):
        assert [float(row[f"{name}_ha"]) for row in rows] == pytest.approx((expected[:, index] * 0.01).tolist())
        shares = expected[:, index] / expected.sum(1)
        assert [float(row[f"{name}_share"]) for row in rows] == pytest.approx(shares.tolist(), abs=1e-6)
    meta, _, shapes, values = pyogrio.raw.read(tmp_path / "out.gpkg")
    held = dict(zip(meta["fields"], values, strict=True))
    assert (meta["crs"], meta["geometry_type"]) == ("EPSG:4326", "MultiPolygon")
    np.testing.assert_allclose(held["crop_ha"], expected[:, 1] * 0.01)
    assert shapely.from_wkb(shapes[1]).area > 0


def test_zones_without_names_are_counted_from_one(tmp_path):
    path, zones = write_map(tmp_path / "map.tif", codes_of_a_map()), write_zones_file(tmp_path / "zones.geojson")
    areas = zone_areas(path, zones, LabelReading(field=""))
    assert [areas.called(number) for number in range(4)] == ["1", "2", "3", "4"]


def written(path, ring, name="a"):
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"name": name}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def test_long_edges_are_straight_where_they_were_drawn(tmp_path):
    """A zone of four degrees holds the pixels of a UTM map between its parallels, not between chords."""
    ring = [[97, 13], [101, 13], [101, 12.9], [97, 12.9], [97, 13]]
    zones = written(tmp_path / "zones.geojson", ring)
    codes = np.ones((160, 460), np.uint8)
    wide = Affine(1000, 0, 270_000, 0, -1000, 1_500_000)
    areas = zone_areas(write_map(tmp_path / "utm.tif", codes, grid=wide), zones, NAMED)
    columns, rows = np.meshgrid(np.arange(460) + 0.5, np.arange(160) + 0.5)
    lons, lats = transform("EPSG:32647", "EPSG:4326", *(wide * (columns.ravel(), rows.ravel())))
    inside = (np.abs(np.array(lons) - 99) < 2) & (np.abs(np.array(lats) - 12.95) < 0.05)
    assert areas.pixels.tolist() == [int(inside.sum())]


def test_a_zone_that_crosses_itself_is_refused(tmp_path):
    bow = [[99.001, 13.56], [99.005, 13.564], [99.005, 13.56], [99.001, 13.564], [99.001, 13.56]]
    path, zones = write_map(tmp_path / "map.tif", codes_of_a_map()), written(tmp_path / "a.geojson", bow)
    with pytest.raises(LabelError, match=r"no valid polygon \(Self-intersection.*\); mend it"):
        zone_areas(path, zones, NAMED)


def test_pixels_of_more_ground_than_a_zone_holds_are_said(tmp_path):
    areas = zone_areas(
        write_map(tmp_path / "map.tif", codes_of_a_map()), write_zones_file(tmp_path / "zones.geojson"), NAMED
    )
    doubled = replace(areas, class_ha=areas.class_ha * 2)
    assert any("3 of 4 zones have pixels of more ground than their outline" in said for said in doubled.warnings())
    assert not any("more ground" in said for said in areas.warnings())


def test_classes_called_as_other_columns_keep_columns_of_their_own(tmp_path, monkeypatch):
    for code, name in ((1, "mapped"), (2, "Zone")):
        monkeypatch.setitem(NAMES, code, name)
    path, zones = write_map(tmp_path / "map.tif", codes_of_a_map()), write_zones_file(tmp_path / "zones.geojson")
    areas = zone_areas(path, zones, NAMED)
    columns = columns_of(areas)
    np.testing.assert_allclose(columns["mapped_ha"], areas.mapped_ha)
    np.testing.assert_allclose(columns["mapped (1)_ha"], areas.class_ha[:, 0])
    assert "tree_ha" in columns


@pytest.mark.parametrize(
    ("geometry", "sentence"),
    [
        ({"type": "Point", "coordinates": [99, 13]}, "is Point; a zone is a polygon"),
        (None, "is nothing; a zone is a polygon"),
        ({"type": "Polygon", "coordinates": [[[99, 0], [99.1, 0], [99.1, 0.1], [99, 0]]]}, "lies on the map"),
    ],
)
def test_what_is_no_zone_of_the_map_is_refused(tmp_path, geometry, sentence):
    feature = {"type": "Feature", "geometry": geometry, "properties": {"name": "a"}}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(LabelError, match=sentence):
        zone_areas(write_map(tmp_path / "map.tif", codes_of_a_map()), tmp_path / "a.geojson", NAMED)
