"""Suggested points on files, in a process that has neither torch nor scipy."""

import csv

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.predict.in_memory import predict_arrays
from bandloom.export.predict.options import PredictOptions, scene_opener
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.export.suggest.candidates import candidates_of, spectra_at
from bandloom.files.points_file import read_points_file
from bandloom.rasters.values import dn_to_reflectance
from tests.export.predict.test_map_scene import HOLE, run, run_blocked
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_stack(tmp_path_factory.mktemp("scene") / "scene.tif", (200, 250), hole=HOLE)


def pixels_of(path, scene):
    points = read_points_file(path)
    with rasterio.open(scene) as file:
        xs, ys = transform("EPSG:4326", file.crs, *points.places.T.tolist())[:2]
        columns, rows = ~file.transform * (np.array(xs), np.array(ys))
    return np.floor(rows).astype(int), np.floor(columns).astype(int)


def test_points_lie_on_measured_ground_apart_and_ready_to_be_labelled(bundle, scene, tmp_path):
    out = tmp_path / "points.csv"
    run_blocked("labels", "suggest", bundle, scene, "--n", "30", "--apart-m", "100", "--out", out)
    rows, columns = pixels_of(out, scene)
    assert len(rows) == 30
    hole = np.zeros((200, 250), bool)
    hole[HOLE] = True
    assert not hole[rows, columns].any()
    apart = np.hypot(rows[:, None] - rows, columns[:, None] - columns) * 10 + np.eye(30) * 1e9
    assert apart.min() >= 100
    with out.open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["lon", "lat", "id", "class", "entropy_percent"]
    assert {row["class"] for row in table} == {""}
    assert all(0 < int(row["entropy_percent"]) <= 100 for row in table)


def test_ground_that_is_labelled_already_is_left_out(bundle, scene, tmp_path, capsys):
    first, more = tmp_path / "first.geojson", tmp_path / "more.gpkg"
    assert run("labels", "suggest", bundle, scene, "--n", "20", "--out", first) == 0
    said = capsys.readouterr().out
    assert "label them with: bandloom view" in said
    assert "taught less than random ones" in said  # of one model
    assert run("labels", "suggest", bundle, scene, "--n", "9", "--labelled", first, "--out", more) == 0
    one, other = pixels_of(first, scene), pixels_of(more, scene)
    distance = np.hypot(one[0][:, None] - other[0], one[1][:, None] - other[1]) * 10
    assert distance.min() >= 199
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("lon,lat\n1.5,80\n")
    assert run("labels", "suggest", bundle, scene, "--labelled", elsewhere, "--out", tmp_path / "b.csv") == 0
    assert "none of the 1 points" in capsys.readouterr().out
    assert run(
        "labels", "suggest", bundle, scene, "--apart-m", "4000", "--labelled", first, "--out", tmp_path / "a.csv"
    )
    assert "lower --apart-m" in capsys.readouterr().err


def test_a_cell_gives_its_least_sure_pixel(bundle, scene):
    loaded = read_bundle(bundle)

    runner = OnnxRunner(bundle / "model.onnx")
    shares = predict_arrays(loaded.contract, runner, scene, probabilities=True).probabilities
    entropy = -(shares * np.log(np.maximum(shares, 1e-30))).sum(0) / np.log(4)
    found = candidates_of(loaded.contract, runner, scene_opener(str(scene), PredictOptions()), PredictOptions())
    place = {(row // 6, column // 6): (row, column) for row, column in zip(found.rows, found.columns, strict=True)}
    for (down, across), pixel in place.items():
        cell = entropy[down * 6 : down * 6 + 6, across * 6 : across * 6 + 6]
        assert entropy[pixel] == pytest.approx(np.nanmax(cell), abs=1e-6)
    full = sum(
        bool(np.isfinite(entropy[y : y + 6, x : x + 6]).any()) for y in range(0, 200, 6) for x in range(0, 250, 6)
    )
    assert len(place) == full == len(found.rows)
    np.testing.assert_allclose(found.worth, [entropy[pixel] for pixel in place.values()], atol=1e-6)


def test_spectra_are_those_that_rasterio_reads(scene):
    rows, columns = np.array([0, 199, 120, 5]), np.array([0, 249, 33, 200])
    found = spectra_at(scene_opener(str(scene), PredictOptions()), rows, columns)
    with rasterio.open(scene) as file:
        stack, names = file.read(), list(file.descriptions)
    blue = dn_to_reflectance(stack[names.index("B02")][rows, columns])
    np.testing.assert_allclose(found[:, 0], blue, atol=1e-6)
    assert found.shape == (4, 13)
