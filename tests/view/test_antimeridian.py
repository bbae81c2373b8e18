"""Maps of ground on both sides of 180 degrees: tiles, clicks, spectra and pages show what the files hold."""

import io
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.warp import transform

from bandloom.export.serve.layers import open_layer
from bandloom.files.points_file import read_points_file
from bandloom.rasters.web_tiles import HALF_WORLD_M, tile_bounds
from bandloom.view.class_map import ClassMap
from bandloom.view.labelling.server import Labelling
from bandloom.view.labelling.session import Session
from bandloom.view.scene_bands import SceneBands
from bandloom.view.server import Views, make_server
from bandloom.view.standalone import view_of
from bandloom.view.tiles import class_means, class_picture
from tests.view.command import run

COLOURS = {10: "#0000ff", 20: "#ffff00", 30: "#008000"}
SIDE = 1500  # pixels of 20 m, 30 km: about 15 km on either side


def write_map(folder: Path, epsg: int) -> Path:
    """Write a map in patches over 180 degrees (Fiji in the south, Wrangel Island in the north), and its scene."""
    south = epsg > 32700
    (x, *_), (y, *_) = transform("EPSG:4326", f"EPSG:{epsg}", [180.0], [-17.0 if south else 71.0])[:2]
    place = rasterio.Affine(20, 0, round(x) - 15000, 0, -20, round(y) + 15000)
    profile = {
        "driver": "GTiff",
        "height": SIDE,
        "width": SIDE,
        "dtype": "uint8",
        "count": 1,
        "crs": f"EPSG:{epsg}",
        "transform": place,
    }
    codes = np.kron(np.random.default_rng(epsg).choice(list(COLOURS), (15, 15)), np.ones((100, 100))).astype(np.uint8)
    with rasterio.open(folder / "map.tif", "w", nodata=255, **profile) as file:
        file.write(codes, 1)
        classes = [{"value": code, "name": f"class {code}", "colour": colour} for code, colour in COLOURS.items()]
        file.update_tags(CLASSES=json.dumps(classes))
        file.write_colormap(1, {code: tuple(bytes.fromhex(c[1:])) for code, c in COLOURS.items()})
        file.build_overviews([2, 4], rasterio.enums.Resampling.mode)
    with rasterio.open(folder / "scene.tif", "w", **profile | {"count": 3, "dtype": "uint16"}) as file:
        file.descriptions = ("B02", "B03", "B04")
        file.write(np.stack([codes.astype(np.uint16) * (100 + band) for band in range(3)]))
    return folder / "map.tif"


@pytest.fixture(
    params=[
        pytest.param(32760, id="zone 60S"),
        pytest.param(32701, id="zone 1S", marks=pytest.mark.slow),
        pytest.param(32660, id="zone 60N", marks=pytest.mark.slow),
        pytest.param(32601, id="zone 1N"),
    ]
)
def mapped(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_map(tmp_path, request.param)


def places(path: Path, count: int) -> Iterator[tuple[float, float, int]]:
    """Yield longitude, latitude and code of places within the map, away from the edges of its patches."""
    rng = np.random.default_rng(1)
    with rasterio.open(path) as file:
        codes = file.read(1)
        for _ in range(count):
            row, column = (int(side) * 100 + 50 for side in rng.integers(0, 15, 2))
            x, y = file.transform * (column + 0.5, row + 0.5)
            (longitude,), (latitude,) = transform(file.crs, "EPSG:4326", [x], [y])[:2]
            yield longitude, latitude, int(codes[row, column])


def test_bounds_are_narrow_and_hold_every_place(mapped: Path):
    west, south, east, north = ClassMap(mapped).bounds
    assert west < 180 < east < west + 2
    for longitude, latitude, _ in places(mapped, 20):
        assert west < (longitude - west) % 360 + west < east
        assert south < latitude < north


def test_what_lies_at_a_place_however_its_longitude_is_counted(mapped: Path):
    found, scene = ClassMap(mapped), SceneBands(mapped.with_name("scene.tif"))
    sides = set()
    for longitude, latitude, code in places(mapped, 30):
        sides.add(longitude > 0)
        for turned in (longitude, longitude + 360, longitude - 360):
            answer = found.at(turned, latitude)
            assert answer is not None
            assert answer["value"] == code
            assert [band["dn"] for band in scene.spectrum(turned, latitude)] == [
                code * (100 + band) for band in range(3)
            ]
    assert sides == {True, False}
    assert found.at(0.0, -17.0) is None


def test_tiles_on_both_sides_have_the_maps_colours(mapped: Path):
    found, layer = ClassMap(mapped), open_layer("map", mapped)
    for zoom in (7, 9, 11):
        for longitude, latitude, code in places(mapped, 12):
            (x,), (y,) = transform("EPSG:4326", "EPSG:3857", [longitude], [latitude])[:2]
            side = 2 * HALF_WORLD_M / 2**zoom
            column, row = int((x + HALF_WORLD_M) // side), int((HALF_WORLD_M - y) // side)
            left, _, _, top = tile_bounds(zoom, column, row)
            at = int((top - y) / side * 256), int((x - left) / side * 256)
            drawn = class_picture(found, tile_bounds(zoom, column, row), (256, 256))[at]
            served = layer.tile(zoom, column, row)
            assert served is not None
            for pixel in (drawn, np.array(Image.open(io.BytesIO(served)))[at]):
                if zoom > 7:  # there a patch is a few pixels wide
                    assert "#{:02x}{:02x}{:02x}".format(*pixel[:3]) == COLOURS[code]
                assert pixel[3] == 255


@pytest.mark.parametrize("west", [179.85, -180.15])
def test_a_map_in_degrees_may_count_beyond_180_either_way(tmp_path: Path, west: float):
    codes = np.kron(np.random.default_rng(0).choice(list(COLOURS), (10, 10)), np.ones((30, 30))).astype(np.uint8)
    profile = {"driver": "GTiff", "height": 300, "width": 300, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    place = rasterio.Affine(0.001, 0, west, 0, -0.001, -17)
    with rasterio.open(tmp_path / "map.tif", "w", **profile, nodata=255, transform=place) as file:
        file.write(codes, 1)
        classes = [{"value": code, "name": f"class {code}", "colour": colour} for code, colour in COLOURS.items()]
        file.update_tags(CLASSES=json.dumps(classes))
        file.write_colormap(1, {code: tuple(bytes.fromhex(c[1:])) for code, c in COLOURS.items()})
    found, layer = ClassMap(tmp_path / "map.tif"), open_layer("map", tmp_path / "map.tif")
    assert found.bounds == pytest.approx((179.85, -17.3, 180.15, -17.0))
    for row in range(0, 10):
        for column in range(10):
            longitude = (west + 0.03 * column + 0.015 + 180) % 360 - 180
            latitude = -17 - 0.03 * row - 0.015
            answer = found.at(longitude, latitude)
            assert answer is not None
            assert answer["value"] == codes[30 * row + 15, 30 * column + 15]
            (x,), (y,) = transform("EPSG:4326", "EPSG:3857", [longitude], [latitude])[:2]
            side = 2 * HALF_WORLD_M / 2**11
            tile = int((x + HALF_WORLD_M) // side), int((HALF_WORLD_M - y) // side)
            left, _, _, top = tile_bounds(11, *tile)
            at = int((top - y) / side * 256), int((x - left) / side * 256)
            served = layer.tile(11, *tile)
            assert served is not None
            ours = class_picture(found, tile_bounds(11, *tile), (256, 256))
            for drawn in (ours, np.array(Image.open(io.BytesIO(served)))):
                assert "#{:02x}{:02x}{:02x}".format(*drawn[at][:3]) == answer["colour"]
                assert drawn[at][3] == 255


def test_the_whole_view_is_one_picture_of_the_map(mapped: Path):
    found = ClassMap(mapped)
    (left, bottom, right, top), (height, width) = view_of(found.bounds, 600)
    assert right - left < HALF_WORLD_M / 50
    picture = class_picture(found, (left, bottom, right, top), (height, width))
    assert (picture[..., 3] == 255).mean() > 0.8
    west = found.bounds[0]
    for longitude, latitude, code in places(mapped, 30):
        x = ((longitude - west) % 360 + west) / 180 * HALF_WORLD_M
        (_,), (y,) = transform("EPSG:4326", "EPSG:3857", [longitude], [latitude])[:2]
        at = int((top - y) / (top - bottom) * height), int((x - left) / (right - left) * width)
        assert "#{:02x}{:02x}{:02x}".format(*picture[at][:3]) == COLOURS[code]


def test_means_of_classes_are_those_of_the_scene(mapped: Path):
    for code, mean in class_means(ClassMap(mapped), SceneBands(mapped.with_name("scene.tif"))).items():
        for band, name in enumerate(("B02", "B03", "B04")):
            assert mean[name] == pytest.approx(code * (100 + band), rel=0.02)


def test_a_layers_tilejson_spans_the_world_where_it_crosses(mapped: Path):
    west, south, east, north = open_layer("map", mapped).tilejson_bounds
    assert (west, east) == (-180, 180)
    assert south < north


def test_two_maps_on_either_side_of_the_antimeridian_are_compared(tmp_path: Path):
    one = write_map(tmp_path, 32760)
    (tmp_path / "other").mkdir()
    other = write_map(tmp_path / "other", 32701)
    record = Views([ClassMap(one), ClassMap(other)], SceneBands(tmp_path / "scene.tif")).record()
    (a, _, b, _), (c, _, d, _) = (each["bounds"] for each in record["maps"])
    assert a < d
    assert c < b


@pytest.mark.slow
def test_the_page_shows_the_map_over_its_scene(mapped: Path, tmp_path: Path, browser: Any, request: Any):
    """Both ways: served, and as one file. What is drawn is looked at in the screenshot."""
    if mapped.stat().st_size and "zone 60" not in request.node.name:
        pytest.skip("two of the four are enough for a browser")
    out = tmp_path / "page.html"
    assert run("view", mapped, "--scene", mapped.with_name("scene.tif"), "--export", out) == 0
    views = Views([ClassMap(mapped)], SceneBands(mapped.with_name("scene.tif")))
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    with make_server(views, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for address in (out.as_uri(), f"http://127.0.0.1:{server.server_address[1]}/"):
            page.goto(address)
            page.wait_for_selector("body[data-ready]", timeout=120_000)
            page.locator("#opacity").fill("100")
            page.wait_for_timeout(1500)
            shot = np.array(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))[:, :960].reshape(-1, 3)
            shares = [(shot == list(bytes.fromhex(colour[1:]))).all(1).mean() for colour in COLOURS.values()]
            assert min(shares) > 0.1, (address, shares)
            page.locator("#map canvas").click(position={"x": 470, "y": 400})
            page.wait_for_selector("#here strong")
            assert page.locator("#here strong").inner_text().startswith("class ")
            longitude = float(page.locator("#here p").first.inner_text().split(",")[1])
            assert 179 < abs(longitude) <= 180
        server.shutdown()
    page.close()
    assert errors == []


def test_tiles_are_asked_for_over_http(mapped: Path):
    with make_server(Views([ClassMap(mapped)], None), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        for column in (0, 2**9 - 1):  # the first and the last column of the world
            row = 280 if "327" in ClassMap(mapped).crs.to_string() else 110
            found = []
            for near in range(row - 12, row + 12):
                with urllib.request.urlopen(f"{address}/tiles/map/0/9/{column}/{near}.png") as answer:
                    found.append(np.array(Image.open(io.BytesIO(answer.read())))[..., 3].max())
            assert max(found) == 255
        server.shutdown()


def test_points_on_both_sides_are_labelled_over_the_ground_that_they_lie_on(mapped: Path, tmp_path: Path):
    """The middle of each chip has the scene's own value there: one colour a class, whatever side it lies on."""
    scene = SceneBands(mapped.with_name("scene.tif"))
    chosen = list(places(mapped, 12))
    assert {longitude > 0 for longitude, _, _ in chosen} == {True, False}
    features = [
        {
            "type": "Feature",
            "properties": {"class": None},
            "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
        }
        for longitude, latitude, _ in chosen
    ]
    (tmp_path / "points.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    class_map = ClassMap(mapped)
    session = Session(read_points_file(tmp_path / "points.geojson"), class_map.classes)
    labelling = Labelling(session, class_map, scene)
    for number, (_, _, code) in enumerate(chosen):
        spectrum = {band["band"]: band["dn"] for band in labelling.spectrum(number)}
        assert spectrum == {f"B0{2 + band}": code * (100 + band) for band in range(3)}
        chip = np.array(Image.open(io.BytesIO(labelling.chip(number, "B04", 300, False))))
        assert chip[..., 3].all()
        assert len(np.unique(chip[200:280, 200:280, 0])) == 1  # one patch of one class around the point
