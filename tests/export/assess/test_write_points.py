"""A sample of every format, drawn and scored by the commands themselves."""

import csv
import json

import numpy as np
import pytest

from bandloom.cli import main
from bandloom.errors import LabelError
from bandloom.export.assess.draw import draw_sample
from bandloom.export.assess.reference_points import read_points
from bandloom.export.assess.score import assess_map
from bandloom.export.assess.write_points import write_sample
from bandloom.shards.labels.reading import LabelReading
from tests.export.maps.maps import NAMES, codes_of_a_map, write_map

CODES = LabelReading("stratum")  # labels that agree with the map: the stratum itself


@pytest.fixture
def map_path(tmp_path):
    return write_map(tmp_path / "map.tif", codes_of_a_map())


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "csv"])
def test_a_file_brings_all_that_a_score_needs(map_path, tmp_path, suffix):
    points = tmp_path / f"points.{suffix}"
    sample = draw_sample(map_path, 10, 60, 2)
    write_sample(points, sample)
    held = read_points(points, LabelReading())
    np.testing.assert_allclose(held.xy(sample.grid.crs), sample.xy, atol=1e-3)
    assert [value or None for value in held.drawing.values] == [None] * 60
    result = assess_map(map_path, points, CODES)
    assert (result.recorded, result.same_strata, result.overall.value) == (True, True, 1)
    assert [land_class.area_ha.value for land_class in result.by_class] == pytest.approx(result.mapped_ha)
    assert not any("probability" in warning for warning in result.warnings)


def test_the_commands_draw_and_score_another_map_by_the_strata_of_the_first(map_path, tmp_path, capsys):
    """The second map is the truth; strata are the first's, so estimators are those for strata that differ."""
    other = codes_of_a_map()
    other[30:50][other[30:50] == 2] = 4
    truth = write_map(tmp_path / "truth.tif", other)
    points, labelled = tmp_path / "points.csv", tmp_path / "labelled.csv"
    run("assess", "sample", str(map_path), "--per-class", "60", "--total", "600", "--seed", "4", "--out", str(points))
    rows = rows_of(points)
    sample = draw_sample(map_path, 60, 600, 4)
    columns, lines = ~sample.grid.transform * tuple(sample.xy.T)
    for row, code in zip(rows, other[lines.astype(int), columns.astype(int)].tolist(), strict=True):
        row["class"] = NAMES[code]
    with labelled.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    run("assess", "score", str(truth), str(labelled), "--out", str(tmp_path / "truth.json"))
    run("assess", "score", str(map_path), str(labelled), "--out", str(tmp_path / "map.json"))
    assert "600 points" in capsys.readouterr().out
    of_truth, of_map = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("truth", "map"))
    assert of_truth["overall_accuracy"]["value"] == pytest.approx(1)
    assert not of_truth["strata_are_the_maps_classes"]
    for of_class, code in zip(of_map["classes"], NAMES, strict=True):
        low, high = of_class["area_ha"]["interval_95"]
        assert low - 1e-9 <= (other == code).sum() * 0.01 <= high + 1e-9


def test_a_damaged_record_is_refused(map_path, tmp_path):
    points = tmp_path / "points.csv"
    write_sample(points, draw_sample(map_path, 10, 60, 2))
    rows = rows_of(points)
    for change, message in (
        (lambda row: row.pop("stratum_ha"), "has lost the column 'stratum_ha'"),
        (lambda row: row.update(stratum_pixels="many"), "line 2 has 'many' as stratum_pixels"),
        (lambda row: row.update(total_pixels="7"), "holds points of 3 strata with"),
    ):
        changed = [dict(row) for row in rows]
        for row in changed:
            change(row)
        with (tmp_path / "changed.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(changed[0]))
            writer.writeheader()
            writer.writerows(changed)
        with pytest.raises(LabelError, match=message):
            read_points(tmp_path / "changed.csv", CODES)


def test_an_unknown_ending_is_refused_before_the_map_is_read(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["assess", "sample", str(tmp_path / "absent.tif"), "--out", str(tmp_path / "points.xls")])
    assert stopped.value.code == 2
    assert "ends in '.xls'; name a file that ends in .gpkg, .geojson, .csv" in capsys.readouterr().err


def rows_of(points):
    with points.open(newline="") as file:
        return list(csv.DictReader(file))


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 0
