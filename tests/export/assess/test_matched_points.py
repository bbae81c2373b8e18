"""Points of a recorded sample against maps and files that changed since."""

import csv

import pytest
from affine import Affine

from bandloom.errors import LabelError
from bandloom.export.assess.draw import draw_sample
from bandloom.export.assess.score import assess_map
from bandloom.export.assess.write_points import write_sample
from bandloom.shards.labels.reading import LabelReading
from tests.export.maps.maps import codes_of_a_map, write_map

AS_MAPPED = LabelReading("stratum")


@pytest.fixture
def map_path(tmp_path):
    return write_map(tmp_path / "map.tif", codes_of_a_map())


@pytest.fixture
def points(map_path, tmp_path):
    write_sample(tmp_path / "points.csv", draw_sample(map_path, 20, 90, 1))
    return tmp_path / "points.csv"


def kept(points, keep):
    """Write the rows of a sample that ``keep`` keeps."""
    with points.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if keep(row)]
    path = points.with_name("kept.csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_map_that_misses_ground_of_the_sample_is_refused(points, tmp_path):
    codes = codes_of_a_map()
    codes[60:] = 255
    with pytest.raises(LabelError, match="lies off the map or on its no-data, but the sample's estimates need all"):
        assess_map(write_map(tmp_path / "cut.tif", codes), points, AS_MAPPED)


def test_a_map_of_more_ground_is_scored_on_the_samples_and_said(points, tmp_path):
    codes = codes_of_a_map()
    codes[:10, :20] = 2
    result = assess_map(write_map(tmp_path / "more.tif", codes), points, AS_MAPPED)
    assert result.total_ha == pytest.approx((90 * 70 - 200) * 0.01)
    assert "the map covers 63.0 ha, the sample 61.0 ha: areas are the sample's." in result.warnings


def test_points_that_were_deleted_are_missed(map_path, points):
    result = assess_map(map_path, kept(points, lambda row: int(row["id"]) > 5), AS_MAPPED)
    assert "the sample had 90 points and the file holds 85." in result.warnings
    with pytest.raises(LabelError, match="put the points of the missing strata back"):
        assess_map(map_path, kept(points, lambda row: row["stratum"] != "1"), AS_MAPPED)


def test_a_sample_of_a_map_in_degrees_gives_its_areas_back(tmp_path):
    grid = Affine(0.01, 0, 20, 0, -0.01, 60)
    path = write_map(tmp_path / "degrees.tif", codes_of_a_map(), "EPSG:4326", grid)
    write_sample(tmp_path / "points.csv", draw_sample(path, 20, 90, 1))
    result = assess_map(path, tmp_path / "points.csv", AS_MAPPED)
    assert [land_class.area_ha.value for land_class in result.by_class] == pytest.approx(result.mapped_ha)
    assert result.total_ha == pytest.approx(sum(result.mapped_ha))
    assert result.shares.sum() == pytest.approx(1)


def test_a_class_whose_every_pixel_was_seen_leaves_no_room_for_an_error(tmp_path):
    codes = codes_of_a_map()
    codes[codes == 1] = 2
    codes[50, 50:60] = 1
    path = write_map(tmp_path / "rare.tif", codes)
    write_sample(tmp_path / "points.csv", draw_sample(path, 20, None, 1))
    result = assess_map(path, tmp_path / "points.csv", AS_MAPPED)
    room = [warning for warning in result.warnings if "rule of three" in warning]
    assert ["'crop'" in room[0], "'tree'" in room[1], len(room)] == [True, True, 2]
