"""``bandloom bundle bench``."""

import json
import os

import pytest
from typer.testing import CliRunner

from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.cli import bundle as app
from bandloom.export.runtimes.bench import bench
from tests.export.tiny_model import write_tiny_bundle


def test_each_runtime_and_number_of_threads_has_a_row_of_its_own(tmp_path):
    path = write_tiny_bundle(tmp_path / "b")
    done = CliRunner().invoke(app, ["bench", str(path), "--threads", "1,2", "--seconds", "0.05", "--batch", "2"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    rows = {(row["runtime"], row["threads"]): row for row in record["rows"]}
    assert {("onnxruntime-cpu", 1), ("onnxruntime-cpu", 2)} <= set(rows)
    for row in rows.values():
        assert row["file_mb"] == round((path / "model.onnx").stat().st_size / 1e6, 2)
        assert 0 < row["ms_a_tile"] < 10_000
        assert 0 < row["ms_a_tile_of_2"] < 10_000
        assert row["rss_mb_before"] <= row["rss_mb"] <= row["rss_mb_of_2"]
        assert min(row["calls"], row["calls_of_2"]) >= 1
    assert "tensorrt engine" in record["not_run"]["tensorrt fp32"]
    assert record["bundle"]["tile_px"] == read_bundle(path).contract.tile_px


def test_what_a_runtime_prints_costs_no_row(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import atexit; atexit.register(print, 'bye')")
    path = write_tiny_bundle(tmp_path / "b")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    record = bench(read_bundle(path), [1], 0.01)
    assert "onnxruntime-cpu" in {row["runtime"] for row in record["rows"]}


def test_a_bundle_that_is_not_whole_is_not_measured(tmp_path):
    path = write_tiny_bundle(tmp_path / "b")
    with (path / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        bench(read_bundle(path), [1], 0.05, 1)


@pytest.mark.parametrize("threads", ["0", "two", "1,", "-1"])
def test_threads_that_are_no_positive_numbers_are_refused(threads, tmp_path):
    path = write_tiny_bundle(tmp_path / "b")
    done = CliRunner().invoke(app, ["bench", str(path), f"--threads={threads}", "--seconds", "0.05"])
    assert isinstance(done.exception, BundleError)
