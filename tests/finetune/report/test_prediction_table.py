import builtins
import csv

import pytest

from bandloom.finetune.report.prediction_table import write_table

ROWS = [{"key": "a", "truth": 1, "p": 0.25}, {"key": "b,c", "truth": 0, "p": 0.5}]


def test_a_parquet_holds_every_row_with_its_types(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = write_table(tmp_path, "predictions", ROWS)
    assert path.name == "predictions.parquet"
    assert parquet.read_table(path).to_pylist() == ROWS


def test_a_table_is_replaced_when_it_is_written_again(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path, "predictions", ROWS)
    assert parquet.read_table(write_table(tmp_path, "predictions", ROWS[1:])).to_pylist() == ROWS[1:]


def test_without_pyarrow_it_is_a_csv_that_reads_back(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_pyarrow(name, *given):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)
        return real(name, *given)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    path = write_table(tmp_path, "predictions", ROWS)
    assert path.name == "predictions.csv"
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{name: str(value) for name, value in row.items()} for row in ROWS]
