"""The benchmarks of shards run from end to end, small, and leave figures with their rivals, however large."""

import importlib
import json
import math

import pytest

from benchmarks import harness

FIGURES = {
    "shard_bytes": ["shard_bytes speed", "shard_bytes default", "shard_bytes archive"],
    "decode": ["decode speed", "decode default", "decode archive"],
    "loader_like_for_like": ["loader_like_for_like"],
    "loader_vs_float": ["loader_vs_float webdataset", "loader_vs_float rasterio"],
    "loader_raw": ["loader_raw"],
    "build": ["build"],
    "build_rss": ["build_rss"],
    "labels_polygons": ["labels_polygons whole reading", "labels_polygons burning alone"],
}
GOALS = {
    "shard_bytes": "<= 0.2857",
    "decode": ">= 10",
    "loader_like_for_like": ">= 3",
    "loader_raw": ">= 0.5",
    "build": ">= 0.9",
    "build_rss": "<= 1",
    "labels_polygons": "<= 2",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_writes_its_figures_beside_their_rivals(name, tmp_path, monkeypatch):
    monkeypatch.setenv("BANDLOOM_SIDE_PX", "480")
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    for module, small in (
        ("loader_like_for_like", {"BATCH": 4, "BATCHES": 2}),
        ("loader_raw", {"SAMPLES": 4}),
        ("loader_vs_float", {"BATCH": 4, "ACROSS": 3}),
    ):
        for constant, value in small.items():
            monkeypatch.setattr(importlib.import_module(f"benchmarks.{module}"), constant, value)
    harness.write(name, importlib.import_module(f"benchmarks.{name}").run())
    record = json.loads((tmp_path / f"{name}.json").read_text())
    figures = {figure["name"]: figure for figure in record["figures"]}
    assert set(FIGURES[name]) <= set(figures)
    for figure in figures.values():
        assert math.isfinite(figure["ratio"])
        assert figure["value"] > 0
        assert figure["rival_value"] > 0
    assert GOALS.get(name) in (None, *(figure["goal"] for figure in figures.values()))
    assert record["command"] == f"make bench NAME={name}"
