"""Scores of real map files with points in every format, against plain arithmetic."""

import json

import numpy as np
import pytest
from rasterio.warp import transform

from bandloom.cli import main
from bandloom.errors import LabelError
from bandloom.export.assess.score import assess_map
from bandloom.shards.labels.reading import LabelReading
from tests.export.maps.maps import NAMES, UTM, codes_of_a_map, write_map


@pytest.fixture
def map_path(tmp_path):
    return write_map(tmp_path / "map.tif", codes_of_a_map())


def some_points(count: int = 120) -> list[tuple[int, int, str]]:
    """Return row, column and true class of points on valid pixels; one in six differs from the map."""
    rng, codes = np.random.default_rng(5), codes_of_a_map()
    places = np.argwhere(codes != 255)[rng.choice(int((codes != 255).sum()), count, replace=False)].tolist()
    return [(r, c, NAMES[int(codes[r, c])] if rng.random() > 1 / 6 else "tree") for r, c in places]


def write_points(path, points):
    xs, ys = zip(*(UTM * (column + 0.5, row + 0.5) for row, column, _ in points), strict=True)
    lons, lats = transform("EPSG:32647", "EPSG:4326", xs, ys)[:2]
    names = [name for _, _, name in points]
    if path.suffix == ".csv":
        lines = [f"{lon!r},{lat!r},{name}" for lon, lat, name in zip(lons, lats, names, strict=True)]
        path.write_text("\n".join(["lon,lat,class", *lines]) + "\n")
    elif path.suffix == ".geojson":
        features = [
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [x, y]}, "properties": {"class": name}}
            for x, y, name in zip(lons, lats, names, strict=True)
        ]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    else:
        import pyogrio
        import shapely

        wkb = shapely.to_wkb(shapely.points(xs, ys))
        pyogrio.raw.write(path, wkb, [np.array(names, object)], ["class"], geometry_type="Point", crs="EPSG:32647")
    return path


@pytest.mark.parametrize("suffix", ["csv", "geojson", "gpkg"])
def test_areas_and_accuracies_are_those_of_plain_arithmetic(map_path, tmp_path, suffix):
    points, codes = some_points(), codes_of_a_map()
    result = assess_map(map_path, write_points(tmp_path / f"points.{suffix}", points), LabelReading())
    expected = np.zeros((3, 3))
    names = list(NAMES.values())
    for i, code in enumerate(NAMES):
        here = [name for row, column, name in points if codes[row, column] == code]
        for j, name in enumerate(names):
            expected[i, j] = (codes == code).sum() / (codes != 255).sum() * here.count(name) / len(here)
    assert result.classes == names
    np.testing.assert_allclose(result.shares, expected, rtol=1e-12)
    assert result.overall.value == pytest.approx(np.trace(expected))
    areas = expected.sum(0) * (codes != 255).sum() * 0.01
    assert [land_class.area_ha.value for land_class in result.by_class] == pytest.approx(areas)
    assert not result.recorded
    assert any("no probability sample" in warning for warning in result.warnings)


def test_the_command_prints_tables_and_a_paragraph_and_writes_json(map_path, tmp_path, capsys):
    points = write_points(tmp_path / "points.csv", some_points())
    with pytest.raises(SystemExit) as stopped:
        main(["assess", "score", str(map_path), str(points), "--out", str(tmp_path / "score.json")])
    assert stopped.value.code == 0
    shown, record = capsys.readouterr().out, json.loads((tmp_path / "score.json").read_text())
    assert "overall accuracy" in shown
    assert "Olofsson et al., 2014" in record["methods"]
    assert [land_class["name"] for land_class in record["classes"]] == ["water", "crop", "tree"]
    low, high = record["classes"][1]["area_ha"]["interval_95"]
    assert low < record["classes"][1]["area_ha"]["value"] < high
    assert record["points"] == 120


def test_points_without_a_class_or_off_the_map_are_left_out_and_said(map_path, tmp_path):
    points = [*some_points(), (3, 3, "crop"), (500, 3, "crop"), (40, 40, "")]
    result = assess_map(map_path, write_points(tmp_path / "points.csv", points), LabelReading())
    assert result.counts.sum() == 120
    assert any(warning.startswith("1 of 123 points have no class") for warning in result.warnings)
    assert any(warning.startswith("2 of 123 points lie off the map") for warning in result.warnings)


def test_a_class_unknown_and_a_stratum_with_one_point_are_refused(map_path, tmp_path):
    with pytest.raises(LabelError, match="line 2: 'corp' is no class"):
        assess_map(map_path, write_points(tmp_path / "a.csv", [(40, 40, "corp")]), LabelReading())
    codes = codes_of_a_map()
    water = [(row, column) for row, column in np.argwhere(codes == 1).tolist()]
    others = [point for point in some_points() if (point[0], point[1]) not in water]
    with pytest.raises(LabelError, match=r"1 labelled point\(s\) in the stratum 'water', and an estimate needs 2"):
        assess_map(map_path, write_points(tmp_path / "b.csv", [*others, (*water[0], "water")]), LabelReading())


def test_all_points_that_agree_are_said_to_prove_less_than_they_seem(map_path, tmp_path):
    points = [(row, column, NAMES[int(codes_of_a_map()[row, column])]) for row, column, _ in some_points()]
    result = assess_map(map_path, write_points(tmp_path / "points.csv", points), LabelReading())
    assert result.overall.value == 1
    assert sum("rule of three" in warning for warning in result.warnings) == 3
    assert sum("too rare for this sample" in warning for warning in result.warnings) == 3


def test_points_marked_unsure_are_counted_and_said(map_path, tmp_path):
    points, codes = some_points(), codes_of_a_map()
    path = write_points(tmp_path / "points.csv", points)
    head, *lines = path.read_text().splitlines()
    marks = ["Yes", "1.0", "true"] + ["0", "no", ""] * 39
    path.write_text("\n".join([f"{head},unsure", *(f"{a},{b}" for a, b in zip(lines, marks, strict=True))]) + "\n")
    result = assess_map(map_path, path, LabelReading())
    assert result.counts.sum() == 120
    right = np.mean([NAMES[int(codes[row, column])] == name for row, column, name in points[3:]])
    expected = (
        f"3 of 120 points are marked unsure and count like the others; 117 are sure, of which the map gives {right:.1%}"
    )
    assert any(warning.startswith(expected) for warning in result.warnings)
