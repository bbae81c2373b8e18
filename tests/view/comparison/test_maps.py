import base64
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from bandloom.view.class_map import ClassMap
from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.maps import DIFFERENT, SAME, pairs_of, sections
from bandloom.view.records import Record, read_record

NAMES = ("1: a.tif", "2: b.tif")
CLASSES = {1: ("water", "#1f6fd4"), 2: ("forest", "#2f7d32"), 3: ("field", "#d9b650")}


def write_map(path: Path, codes: np.ndarray, classes=CLASSES, *, west: float = 600_000, pixel_m: float = 10) -> Record:
    told = [{"value": value, "name": name, "colour": colour} for value, (name, colour) in classes.items()]
    profile = {"driver": "GTiff", "height": codes.shape[0], "width": codes.shape[1], "count": 1, "dtype": "uint8"}
    grid = {"crs": "EPSG:32630", "transform": from_origin(west, 4_200_000, pixel_m, pixel_m), "nodata": 255}
    with rasterio.open(path, "w", **profile, **grid) as file:
        file.write(codes, 1)
        file.update_tags(CLASSES=json.dumps(told), SCENE="s")
    path.with_suffix(".stac.json").write_text("{}")
    return read_record(path)


@pytest.fixture
def two(tmp_path: Path) -> tuple[np.ndarray, np.ndarray, list[Record]]:
    random = np.random.default_rng(0)
    first = random.choice(np.array([1, 2, 3, 255], np.uint8), (300, 280))
    second = np.where(
        random.random(first.shape) < 0.2, random.choice(np.array([1, 2, 3, 255], np.uint8), first.shape), first
    )
    return first, second, [write_map(tmp_path / "a.tif", first), write_map(tmp_path / "b.tif", second)]


def test_pairs_are_those_of_a_loop_over_pixels(two):
    first, second, records = two
    counted = Counter(
        (int(a), int(b)) for a, b in zip(first.ravel(), second.ravel(), strict=True) if 255 not in (int(a), int(b))
    )
    pairs = pairs_of(*(ClassMap(record.path) for record in records))
    assert {(a, b): int(pairs[a, b]) for a, b in np.argwhere(pairs).tolist()} == counted


def test_verdict_areas_and_changes_are_those_of_the_pixels(two):
    first, second, records = two
    verdict, areas, changes = sections(Compared(records, NAMES))
    both = (first != 255) & (second != 255)
    differ = int((both & (first != second)).sum())
    assert verdict.verdict.startswith(f"The two maps differ on {differ:,} of the {int(both.sum()):,} pixels")
    for code, row in zip((1, 2, 3), areas.tables[0].rows, strict=True):
        hectares = [round(float((held == code).sum()) / 100, 2) for held in (first, second)]
        assert list(row[1:]) == pytest.approx([*hectares, hectares[1] - hectares[0]])
    counts = [row[2] for row in changes.tables[0].rows]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == differ
    water_to_forest = int(((first == 1) & (second == 2)).sum())
    assert ["water", "forest", water_to_forest, water_to_forest / 100] in [list(row) for row in changes.tables[0].rows]


def test_the_picture_marks_what_differs(two):
    first, second, records = two
    drawn = sections(Compared(records, NAMES))[0].pictures[2]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.data)))).reshape(-1, 4)
    colours = {tuple(colour) for colour in np.unique(pixels, axis=0).tolist()}
    assert colours <= {SAME, DIFFERENT, (0, 0, 0, 0)}
    share = (pixels == DIFFERENT).all(axis=1).sum() / (pixels[:, 3] > 0).sum()
    both = (first != 255) & (second != 255)
    assert share == pytest.approx((both & (first != second)).sum() / both.sum(), abs=0.02)


def test_classes_are_compared_by_name_whatever_their_codes(tmp_path: Path):
    codes = np.array([[1, 2], [3, 255]], np.uint8)
    other = {10: CLASSES[1], 20: CLASSES[2], 30: ("meadow", "#aabb33")}
    turned = np.array([[10, 20], [30, 255]], np.uint8)
    records = [write_map(tmp_path / "a.tif", codes), write_map(tmp_path / "b.tif", turned, other)]
    verdict, areas, changes = sections(Compared(records, NAMES))
    assert verdict.verdict.startswith("The two maps differ on 1 of the 3 pixels")
    assert [list(row) for row in changes.tables[0].rows] == [["field", "meadow", 1, 0.01]]
    assert [row[0] for row in areas.tables[0].rows] == ["water", "forest", "field", "meadow"]
    assert areas.tables[0].rows[2][2:] == [None, None]  # the second map has no such class


@pytest.mark.parametrize("change", [{"west": 600_010}, {"pixel_m": 20}])
def test_maps_of_other_grids_are_not_compared_pixel_by_pixel(tmp_path: Path, change):
    codes = np.ones((4, 4), np.uint8)
    records = [write_map(tmp_path / "a.tif", codes), write_map(tmp_path / "b.tif", codes, **change)]
    [section] = sections(Compared(records, NAMES))
    assert section.verdict == "1: a.tif and 2: b.tif lie on other grids: not compared."


def test_equal_maps_are_said_to_be_equal(tmp_path: Path):
    codes = np.array([[1, 2], [3, 255]], np.uint8)
    records = [write_map(tmp_path / name, codes) for name in ("a.tif", "b.tif")]
    [section] = sections(Compared(records, NAMES))
    assert section.verdict == "The two maps agree on all 3 pixels that have a class in both."


def test_maps_that_share_no_pixel_say_so(tmp_path: Path):
    codes = np.array([[1, 255]], np.uint8)
    records = [write_map(tmp_path / "a.tif", codes), write_map(tmp_path / "b.tif", codes[:, ::-1].copy())]
    [section] = sections(Compared(records, NAMES))
    assert section.verdict == "No pixel has a class in both maps."
