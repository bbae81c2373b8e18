"""The table of areas against the record of the same assessment."""

import csv

import pytest

from bandloom.errors import OutputError
from bandloom.export.assess.area_table import write_area_table
from bandloom.export.assess.score import assess_map
from bandloom.export.assess.words import tables
from bandloom.shards.labels.reading import LabelReading
from tests.export.assess.test_score import some_points, write_points
from tests.export.maps.maps import codes_of_a_map, write_map
from tests.view.command import run


@pytest.fixture(name="assessed")
def the_assessment_of_a_map(tmp_path):
    map_path = write_map(tmp_path / "map.tif", codes_of_a_map())
    return assess_map(map_path, write_points(tmp_path / "points.csv", some_points()), LabelReading())


def test_a_row_a_class_holds_what_the_record_holds_and_leaves_empty_what_cannot_be_estimated(assessed, tmp_path):
    write_area_table(tmp_path / "areas.csv", assessed)
    rows = list(csv.DictReader((tmp_path / "areas.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == assessed.classes
    for row, told in zip(rows, assessed.record()["classes"], strict=True):
        assert float(row["mapped_ha"]) == pytest.approx(told["mapped_ha"], abs=1e-6)
        for figure in ("area_ha", "users_accuracy", "producers_accuracy"):
            cells = [row[figure + part] for part in ("", "_standard_error", "_low_95", "_high_95")]
            if told[figure] is None:
                assert cells == [""] * 4
            else:
                expected = [told[figure]["value"], told[figure]["standard_error"], *told[figure]["interval_95"]]
                assert [float(cell) for cell in cells] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(OutputError, match="exists already"):
        write_area_table(tmp_path / "areas.csv", assessed)


def test_a_table_that_is_no_csv_is_refused_before_any_work(tmp_path, capsys):
    assert run("assess", "score", "none.tif", "none.csv", "--table", tmp_path / "areas.xlsx") == 2
    assert "name a file that ends in .csv" in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 30])
def test_an_error_matrix_too_wide_for_the_console_shows_points_alone_and_classes_by_number(assessed, width):
    *_, matrix = tables(assessed, width)
    headers = [column.header for column in matrix.columns]
    if width == 80:
        assert headers == ["", *assessed.classes]
        assert str(next(iter(matrix.columns[1].cells))).endswith(f"({assessed.counts[0, 0]})")
    else:
        assert headers == ["", "1", "2", "3"]
        assert list(matrix.columns[0].cells) == [f"{n} {name}" for n, name in enumerate(assessed.classes, 1)]
        assert [list(column.cells) for column in matrix.columns[1:]] == assessed.counts.T.astype(str).tolist()


def test_of_a_matrix_too_wide_even_by_number_the_largest_errors_are_listed(assessed):
    *_, errors = tables(assessed, 8)
    shares = [float(cell) for cell in errors.columns[2].cells]
    assert shares == sorted(shares, reverse=True)
    for mapped, reference, share, points in zip(*(column.cells for column in errors.columns), strict=True):
        i, j = assessed.classes.index(mapped), assessed.classes.index(reference)
        assert i != j
        assert float(share) == pytest.approx(assessed.shares[i, j], abs=1e-4)
        assert int(points) == assessed.counts[i, j]
    assert len(shares) == (assessed.shares > 0).sum() - (assessed.shares.diagonal() > 0).sum()
