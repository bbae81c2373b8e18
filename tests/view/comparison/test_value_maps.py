"""Two maps of values side by side: differences against numpy, and what is not compared."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from bandloom.target import Target
from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.maps import sections
from bandloom.view.comparison.value_maps import EQUAL, HIGHER, LOWER, Apart, difference_colours
from bandloom.view.records import Record, read_record
from bandloom.view.report import render
from tests.view.comparison.test_maps import write_map

NAMES = ("1: a.tif", "2: b.tif")
HEIGHT = Target(name="canopy height", unit="m", low=0.0, high=20.0)


def write_values(path: Path, values: np.ndarray, target: Target = HEIGHT, west: float = 600_000) -> Record:
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": "float32", "nodata": np.nan}
    grid = {"crs": "EPSG:32630", "transform": from_origin(west, 4_200_000, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **grid) as file:
        file.write(values.astype(np.float32), 1)
        file.update_tags(TARGET=target.model_dump_json(), SCENE="s")
    path.with_suffix(".stac.json").write_text("{}")
    return read_record(path)


@pytest.fixture
def two(tmp_path: Path) -> tuple[np.ndarray, np.ndarray, list[Record]]:
    random = np.random.default_rng(0)
    first = random.uniform(0, 20, (300, 280)).astype(np.float32)
    second = (first + random.normal(1.5, 2, first.shape)).astype(np.float32)
    first[:40, :50] = np.nan
    second[-30:] = np.nan
    return first, second, [write_values(tmp_path / "a.tif", first), write_values(tmp_path / "b.tif", second)]


def test_the_differences_are_numpys_over_the_pixels_that_have_a_value_in_both(two):
    first, second, records = two
    where, _, differences = sections(Compared(records, NAMES))
    known = np.isfinite(first) & np.isfinite(second)
    a, b = first[known].astype(float), second[known].astype(float)
    rows = {row[0]: row[1] for row in differences.tables[0].rows}
    assert rows["pixels with a value in both"] == known.sum()
    assert rows["2 less 1, mean"] == pytest.approx((b - a).mean())
    assert rows["apart, mean of absolute differences"] == pytest.approx(np.abs(b - a).mean())
    assert rows["apart, root mean square"] == pytest.approx(np.sqrt(((b - a) ** 2).mean()))
    assert rows["correlation of the pixels"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert where.verdict.startswith(
        f"On the {known.sum():,} pixels that have a value in both, 2: b.tif is {(b - a).mean():.3g} m higher in the"
    )


def test_pairs_of_values_are_numpys_histogram():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 20, (2, 5000))
    apart = Apart(0.0, 20.0)
    apart.add(a[:3000], b[:3000])
    apart.add(a[3000:], b[3000:])
    wanted, _, _ = np.histogram2d(b, a, bins=60, range=((0, 20), (0, 20)))
    assert (apart.pairs == wanted).all()


def test_the_picture_of_differences_is_blue_below_red_above_and_clear_without_a_value(two):
    colours = difference_colours(np.array([[-9.0, -2.0, 0.0, 2.0, np.nan]]), 2.0)
    assert colours[0, :, :3].tolist()[:4] == [list(LOWER), list(LOWER), list(EQUAL), list(HIGHER)]
    assert colours[0, :, 3].tolist() == [255, 255, 255, 255, 0]
    where = sections(Compared(two[2], NAMES))[0]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(where.pictures[2].data))))
    known = drawn[..., 3] > 0
    redder = (drawn[known][:, 0] > drawn[known][:, 2]).mean()
    gap = two[1] - two[0]
    assert redder == pytest.approx((gap[np.isfinite(gap)] > 0).mean(), abs=0.03)


def test_a_page_of_two_maps_of_values_shows_all_of_it(two):
    page = render(two[2])
    for text in ("Where they differ", "Value beside value", "canopy height [m]", "2 less 1: blue", "below 2 m"):
        assert text in page


def test_equal_maps_other_quantities_other_grids_and_classes_are_told_apart(tmp_path: Path):
    values = np.random.default_rng(0).uniform(0, 20, (30, 40))
    first = write_values(tmp_path / "a.tif", values)
    others = {
        "The two maps have the same value on all 1,200 pixels": write_values(tmp_path / "b.tif", values),
        "They show other quantities, canopy height [m] and biomass [t/ha]": write_values(
            tmp_path / "c.tif", values, Target(name="biomass", unit="t/ha")
        ),
        "lie on other grids": write_values(tmp_path / "d.tif", values, west=700_000),
        "No pixel has a value in both": write_values(tmp_path / "e.tif", np.full((30, 40), np.nan)),
        "One shows classes, the other measured values": write_map(tmp_path / "f.tif", np.ones((30, 40), np.uint8)),
    }
    for sentence, other in others.items():
        (only,) = sections(Compared([first, other], NAMES))
        assert sentence in only.verdict
