"""The item beside a map: valid by the specification's own schema, and true of the map."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform, transform_bounds

from bandloom.cli import main
from tests.export.stack_file import write_stack
from tests.export.tiny_model import LABELS, write_tiny_bundle

pystac = pytest.importorskip("pystac", reason="pystac is not installed; pip install 'bandloom[fetch]'")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map beside its item, of a scene whose height and width differ."""
    place = tmp_path_factory.mktemp("mapped")
    bundle, scene = write_tiny_bundle(place / "tiny"), write_stack(place / "scene.tif", (90, 126))
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(bundle), str(scene), "--out", str(place / "map.tif"), "--png", "--confidence"])
    assert ended.value.code == 0
    return place


def test_the_item_is_valid_by_the_schemas_that_pystac_carries(mapped):
    """Offline: the core schemas only. Those of the extensions are in no package; the tests below read their fields."""
    pytest.importorskip("jsonschema", reason="jsonschema is not installed; pip install 'bandloom[dev]'")
    from pystac.validation.local_validator import LocalValidator

    record = json.loads((mapped / "map.stac.json").read_text())
    assert LocalValidator().item_validator(record["stac_version"]).is_valid(record)
    spoilt = record | {"properties": record["properties"] | {"datetime": "yesterday"}}
    assert not LocalValidator().item_validator(record["stac_version"]).is_valid(spoilt)
    timeless = {k: v for k, v in record["properties"].items() if k != "datetime"} | {"datetime": None}
    assert not LocalValidator().item_validator(record["stac_version"]).is_valid(record | {"properties": timeless})


def test_the_items_grid_is_the_maps(mapped):
    from pystac.extensions.projection import ProjectionExtension

    projection = ProjectionExtension.ext(pystac.Item.from_file(str(mapped / "map.stac.json")))
    with rasterio.open(mapped / "map.tif") as file:
        assert projection.code == f"EPSG:{file.crs.to_epsg()}"
        assert projection.shape == list(file.shape)
        np.testing.assert_allclose(projection.transform, list(file.transform)[:6])
        bounds = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    np.testing.assert_allclose(projection.item.bbox, bounds, atol=1e-5)


def test_the_items_classes_are_the_label_sets(mapped):
    from pystac.extensions.classification import ClassificationExtension

    item = pystac.Item.from_file(str(mapped / "map.stac.json"))
    found = ClassificationExtension.ext(item.assets["map"]).classes
    assert [(c.value, c.description, f"#{c.color_hint}".lower()) for c in found or ()] == [
        (c.code, c.name, c.colour.lower()) for c in LABELS.classes
    ]


def test_every_asset_lies_where_the_item_says(mapped):
    item = pystac.Item.from_file(str(mapped / "map.stac.json"))
    assert set(item.assets) == {"map", "png", "qml", "confidence"}
    for asset in item.assets.values():
        assert Path(asset.get_absolute_href() or "").is_file()


def corners_of(path: Path) -> list[tuple[float, float]]:
    with rasterio.open(path) as file:
        pixels = [(0, 0), (0, file.height), (file.width, file.height), (file.width, 0)]
        xs, ys = zip(*(file.transform * pixel for pixel in pixels), strict=True)
        lon, lat = transform(file.crs, "EPSG:4326", xs, ys)[:2]
    return list(zip(lon, lat, strict=True))


def inside(ring: list[list[float]], x: float, y: float) -> bool:
    """Ray casting, edge by edge."""
    crossed = False
    for (x0, y0), (x1, y1) in pairwise(ring):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            crossed = not crossed
    return crossed


def ground_of(path: Path, rng: np.random.Generator, reach: float) -> list[tuple[float, float, bool]]:
    """Return longitude and latitude of places within and around a map, and whether it holds them."""
    with rasterio.open(path) as file:
        places = rng.uniform(-reach, 1 + reach, (400, 2))
        xs, ys = zip(*(file.transform * (x * file.width, y * file.height) for x, y in places), strict=True)
        lon, lat = transform(file.crs, "EPSG:4326", xs, ys)[:2]
    held = ((places > 0) & (places < 1)).all(1)
    clear = (np.abs(places) > 0.01).all(1) & (np.abs(places - 1) > 0.01).all(1)
    return [(a, b, bool(c)) for a, b, c, d in zip(lon, lat, held, clear, strict=True) if d]


def test_the_geometry_is_the_grids_outline_and_no_rectangle_of_degrees(mapped):
    item = json.loads((mapped / "map.stac.json").read_text())
    assert item["geometry"]["type"] == "Polygon"
    [ring] = item["geometry"]["coordinates"]
    for corner in corners_of(mapped / "map.tif"):
        assert min(abs(corner[0] - x) + abs(corner[1] - y) for x, y in ring) < 1e-6
    west, south, east, north = item["bbox"]
    assert (west, south) == (min(x for x, _ in ring), min(y for _, y in ring))
    assert (east, north) == (max(x for x, _ in ring), max(y for _, y in ring))
    assert len({x for x, _ in ring}) > 5


@pytest.mark.parametrize("epsg", [32660, 32701])
def test_across_the_antimeridian_the_item_has_two_parts(tmp_path, epsg):
    """RFC 7946, 3.1.9 and 5.2."""
    bundle, scene = write_tiny_bundle(tmp_path / "tiny"), tmp_path / "scene.tif"
    latitude = 52.0 if epsg == 32660 else -17.0
    (x, *_), (y, *_) = transform("EPSG:4326", f"EPSG:{epsg}", [180.0], [latitude])[:2]
    with rasterio.open(write_stack(tmp_path / "there.tif", (600, 600))) as there:
        place = rasterio.Affine(10, 0, round(x / 60) * 60 - 2400, 0, -10, round(y / 60) * 60)
        with rasterio.open(scene, "w", **there.profile | {"crs": f"EPSG:{epsg}", "transform": place}) as file:
            file.write(there.read())
            file.descriptions = there.descriptions
            file.update_tags(RADIO_ADD_OFFSET="-1000")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(bundle), str(scene), "--out", str(tmp_path / "map.tif")])
    assert ended.value.code == 0
    item = json.loads((tmp_path / "map.stac.json").read_text())
    assert item["geometry"]["type"] == "MultiPolygon"
    rings = [polygon[0] for polygon in item["geometry"]["coordinates"]]
    assert len(rings) == 2
    for ring in rings:
        assert max(x for x, _ in ring) - min(x for x, _ in ring) < 1
        assert sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) > 0, "counter-clockwise"
    west, south, east, north = item["bbox"]
    assert 179 < west <= 180
    assert -180 <= east < -179
    for longitude, latitude, held in ground_of(tmp_path / "map.tif", np.random.default_rng(0), 0.3):
        assert any(inside(ring, longitude, latitude) for ring in rings) == held
        if held:
            assert south < latitude < north
            assert longitude > west or longitude < east
    pytest.importorskip("jsonschema", reason="jsonschema is not installed; pip install 'bandloom[dev]'")
    from pystac.validation.local_validator import LocalValidator

    assert LocalValidator().item_validator(item["stac_version"]).is_valid(item)


@pytest.mark.parametrize(("epsg", "crosses"), [(3413, True), (3031, True), (32633, False), (5041, True)])
def test_ground_that_holds_a_pole_reaches_it(epsg, crosses):
    """Polar grids: stereographic north and south, UPS; and a UTM grid that ends short of 84 degrees."""
    from bandloom.rasters.footprint import bbox_of, footprint
    from bandloom.rasters.web_tiles import view_bounds

    centre = (2_000_000, 2_000_000) if epsg == 5041 else (0, 0) if crosses else (500_000, 9_300_000)
    geometry = footprint(
        rasterio.CRS.from_epsg(epsg), rasterio.Affine(1000, 0, centre[0] - 9e4, 0, -1000, centre[1] + 9e4), (180, 180)
    )
    west, south, east, north = bbox_of(geometry)
    if crosses:
        assert (west, east) == (-180, 180)
        assert south == -90 or north == 90
    shown = view_bounds(geometry)
    assert -85.06 < shown[1] <= shown[3] < 85.06
    assert shown[0] < shown[2] <= shown[0] + 360
    assert (shown[1] == shown[3]) == crosses, "nothing of these three is on a web map"
