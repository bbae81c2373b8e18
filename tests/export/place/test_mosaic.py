"""Mosaics against a loop over their pixels."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform

from bandloom.errors import OutputError
from bandloom.export.maps.class_grid import ClassGrid
from bandloom.export.place.mosaic import RULE, Parts, write_mosaic
from bandloom.export.predict.partial_map import PUBLISHING, partial_folder
from tests.export.maps.maps import UTM, write_map
from tests.export.tiny_model import LABELS

NODATA = 255
CODES = [land_class.code for land_class in LABELS.classes]


def codes_of(seed, shape=(60, 70), holes=0.2):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < holes, NODATA, rng.choice(CODES, shape)).astype(np.uint8)


def write_part(path, codes, grid=UTM, crs="EPSG:32647", day="2024-06-01"):
    """Write a map as `predict` leaves it, with the item and the confidence beside it."""
    write_map(path, codes, crs, grid)
    with rasterio.open(path, "r+") as file:
        file.update_tags(SCENE=f"scene {path.stem}", BUNDLE="tiny", ACQUISITION_DATETIME=f"{day}T10:00:00+00:00")
    percents = np.where(codes == NODATA, NODATA, codes + np.uint8(len(path.stem))).astype(np.uint8)
    write_map(path.with_name(f"{path.stem}.confidence.tif"), percents, crs, grid)
    item = {"properties": {"datetime": f"{day}T10:00:00Z", "bandloom:bundle": "tiny", "bandloom:seconds": {"x": 1}}}
    path.with_suffix(".stac.json").write_text(json.dumps(item))
    return path


def parts_of(maps, *layers):
    return Parts(maps, LABELS, NODATA, layers)


def expected_on(file, maps, suffix=""):
    """Return what a loop over pixels and maps gives on the grid of a file: the first map that knows the centre."""
    height, width = file.shape
    out = np.full((height, width), NODATA, np.uint8)
    rows, columns = np.mgrid[:height, :width] + 0.5
    xs, ys = file.transform * (columns.ravel(), rows.ravel())
    for path in reversed(maps):
        with rasterio.open(path) as one:
            known = one.read(1) != NODATA
        with rasterio.open(path.with_name(f"{path.stem}{suffix}.tif")) as one:
            own_x, own_y = (np.array(axis) for axis in transform(file.crs, one.crs, xs, ys)[:2])
            column, row = (np.floor(axis).astype(int) for axis in ~one.transform * (own_x, own_y))
            inside = (row >= 0) & (row < one.height) & (column >= 0) & (column < one.width)
            codes = one.read(1)
        for at in np.flatnonzero(inside):
            if known[row[at], column[at]]:
                out.flat[at] = codes[row[at], column[at]]
    return out


def test_a_pixel_is_of_the_first_map_that_knows_it_and_every_pixel_is_counted_once(tmp_path):
    maps = [
        write_part(tmp_path / "a.tif", codes_of(1)),
        write_part(tmp_path / "bb.tif", codes_of(2), UTM * Affine.translation(40, -25)),
        write_part(tmp_path / "ccc.tif", codes_of(3, (30, 50), 0.0), UTM * Affine.translation(-30, 20)),
    ]
    made = write_mosaic(tmp_path / "mosaic.tif", parts_of(maps, "confidence"))
    with rasterio.open(tmp_path / "mosaic.tif") as file:
        codes, tags = file.read(1), file.tags()
        assert file.crs.to_epsg() == 32647
        assert file.shape == (85, 140)
        assert file.transform == UTM * Affine.translation(-30, -25)
        np.testing.assert_array_equal(codes, expected_on(file, maps))
    with rasterio.open(tmp_path / "mosaic.confidence.tif") as file:
        np.testing.assert_array_equal(file.read(1), expected_on(file, maps, ".confidence"))
    placed = np.full((3, 85, 140), NODATA, np.uint8)
    for layer, path, (row, column) in zip(placed, maps, [(25, 30), (0, 70), (45, 0)], strict=True):
        with rasterio.open(path) as one:
            layer[row : row + one.height, column : column + one.width] = one.read(1)
    known = placed != NODATA
    shared = known.sum(0) > 1
    assert made.shared == shared.sum()
    assert made.alike == (shared & ((placed == codes) | ~known).all(0)).sum()
    assert sum(made.taken) == known.any(0).sum() == sum(one.pixels for one in ClassGrid(made.path).classes)
    assert made.taken[0] == known[0].sum()
    assert made.moved == 0
    assert tags["SCENE"] == "3 scenes"
    assert tags["ACQUISITION_DATETIME"].startswith("2024-06-01")
    told = json.loads(tags["MOSAIC"])
    assert told["rule"] == RULE
    assert [one["map"] for one in told["maps"]] == ["a.tif", "bb.tif", "ccc.tif"]
    assert "same class on them" in made.lines()[1]


def test_maps_of_two_zones_meet_in_the_one_in_which_most_was_mapped(tmp_path):
    """At 102 degrees east, where zones 47 and 48 meet, the second's grid lies turned."""
    x, y = (axis[0] for axis in transform("EPSG:4326", "EPSG:32648", [102.0], [13.5]))
    east = Affine(10, 0, round(x, -1), 0, -10, round(y, -1))
    x, y = (axis[0] for axis in transform("EPSG:4326", "EPSG:32647", [102.0], [13.5]))
    west = Affine(10, 0, round(x, -1) - 500, 0, -10, round(y, -1) + 50)
    maps = [
        write_part(tmp_path / "east.tif", codes_of(1, (60, 60)), east, "EPSG:32648", "2024-06-03"),
        write_part(tmp_path / "west.tif", codes_of(2, (80, 90)), west, "EPSG:32647"),
    ]
    made = write_mosaic(tmp_path / "mosaic.tif", parts_of(maps))
    with rasterio.open(tmp_path / "mosaic.tif") as file:
        assert file.crs.to_epsg() == 32647
        codes = file.read(1)
        np.testing.assert_array_equal(codes, expected_on(file, maps))
        assert file.tags()["SCENE"] == "scene east and scene west"
        assert "ACQUISITION_DATETIME" not in file.tags()
        assert set(np.unique(codes).tolist()) == {*CODES, NODATA}
    assert made.moved == 1
    assert "1 of them lie on another grid" in made.lines()[1]
    with rasterio.open(maps[0]) as one:
        share = made.taken[0] / (one.read(1) != NODATA).sum()
    assert share == pytest.approx(1, abs=0.02)  # no ground of the turned map is lost at the edges
    item = json.loads((tmp_path / "mosaic.stac.json").read_text())
    properties = item["properties"]
    assert properties["datetime"] is None
    assert (properties["start_datetime"], properties["end_datetime"]) == (
        "2024-06-01T10:00:00Z",
        "2024-06-03T10:00:00Z",
    )
    assert properties["proj:code"] == "EPSG:32647"
    assert "bandloom:seconds" not in properties
    pytest.importorskip("jsonschema", reason="jsonschema is not installed; pip install 'bandloom[dev]'")
    from pystac.validation.local_validator import LocalValidator

    assert LocalValidator().item_validator(item["stac_version"]).is_valid(item)
    assert [link["href"] for link in item["links"]] == ["./east.stac.json", "./west.stac.json"]


def test_a_map_half_a_pixel_off_is_brought_by_the_nearest_pixel_and_a_map_of_nothing_takes_none(tmp_path):
    maps = [
        write_part(tmp_path / "a.tif", codes_of(1, holes=0.5)),
        write_part(tmp_path / "off.tif", codes_of(2), UTM * Affine.translation(20.4, 10.3)),
        write_part(tmp_path / "empty.tif", np.full((9, 9), NODATA, np.uint8)),
    ]
    made = write_mosaic(tmp_path / "mosaic.tif", parts_of(maps))
    with rasterio.open(tmp_path / "mosaic.tif") as file:
        np.testing.assert_array_equal(file.read(1), expected_on(file, maps))
    assert made.moved == 1
    assert made.taken[2] == 0


def test_a_file_that_is_there_is_refused_but_not_what_a_killed_run_left(tmp_path):
    maps = [write_part(tmp_path / f"{name}.tif", codes_of(len(name))) for name in ("a", "bb")]
    (tmp_path / "mosaic.qml").write_text("mine")
    with pytest.raises(OutputError, match=r"mosaic\.qml"):
        write_mosaic(tmp_path / "mosaic.tif", parts_of(maps))
    assert (tmp_path / "mosaic.qml").read_text() == "mine"
    (tmp_path / "mosaic.qml").unlink()
    code = f"""
import pathlib, time
import bandloom.export.place.mosaic as mosaic
from tests.export.place.test_mosaic import parts_of
def killed_between(ready):
    side = next(iter(ready))
    ready[side].rename(side)
    print("named", flush=True)
    time.sleep(600)
mosaic.publish = killed_between
mosaic.write_mosaic(pathlib.Path({str(tmp_path / "mosaic.tif")!r}), parts_of({[str(path) for path in maps]!r}))
""".replace("parts_of([", "parts_of([pathlib.Path(one) for one in [").replace("']))", "']]))")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("named" in line for line in lines)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert (tmp_path / "mosaic.qml").exists()
    assert (partial_folder(tmp_path / "mosaic.tif") / PUBLISHING).exists()
    time.sleep(0.1)
    write_mosaic(tmp_path / "mosaic.tif", parts_of(maps))
    assert not partial_folder(tmp_path / "mosaic.tif").exists()
    assert (tmp_path / "mosaic.tif").exists()
