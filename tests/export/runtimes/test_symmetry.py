"""Eight-fold averaging against a loop over chips written out by hand."""

import numpy as np
import pytest
import rasterio

from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.export.runtimes.symmetry import SYMMETRIES, Symmetric, turned, turned_back
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import random_chips, write_tiny_bundle


def softmax(logits, axis):
    raised = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return raised / raised.sum(axis=axis, keepdims=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def test_the_eight_symmetries_are_different_and_each_is_undone():
    pixels = np.arange(2 * 36).reshape(2, 6, 6)
    seen = {turned(pixels, *symmetry).tobytes() for symmetry in SYMMETRIES}
    assert len(seen) == 8
    for symmetry in SYMMETRIES:
        np.testing.assert_array_equal(turned_back(turned(pixels, *symmetry), *symmetry), pixels)


def test_the_mean_over_symmetries_equals_a_naive_loop(bundle):
    contract = read_bundle(bundle).contract.with_changes(temperature=1.7)
    runner = OnnxRunner(bundle / "model.onnx", threads=1)
    chips = random_chips(contract, 3, seed=4)
    given = softmax(Symmetric(runner, contract).run(chips) / 1.7, 1)
    total = np.zeros_like(given, np.float64)
    for flips in (0, 1):
        for quarters in range(4):
            for chip in range(3):
                moved = {}
                for gsd_m, dn in chips.items():
                    one = np.flip(dn[chip], 2) if flips else dn[chip]
                    moved[gsd_m] = np.stack([np.rot90(band, quarters) for band in one])[None].copy()
                shares = softmax(runner.run(moved)[0] / 1.7, 0)
                upright = np.stack([np.rot90(share, 4 - quarters) for share in shares])
                total[chip] += np.flip(upright, 2) if flips else upright
    np.testing.assert_allclose(given, total / 8, atol=2e-6)


def test_a_turned_scene_gives_the_turned_answer(bundle):
    runner = Symmetric(OnnxRunner(bundle / "model.onnx", threads=1), read_bundle(bundle).contract)
    chips = random_chips(read_bundle(bundle).contract, 1)
    moved = {gsd_m: turned(dn, 3, True) for gsd_m, dn in chips.items()}
    np.testing.assert_allclose(runner.run(moved), turned(runner.run(chips), 3, True), atol=1e-4)


def test_a_map_says_that_it_is_a_mean_and_is_not_taken_for_one_that_is_none(bundle, tmp_path, capsys):
    (tmp_path / "scenes").mkdir()
    scene = write_stack(tmp_path / "scenes" / "a.tif", (60, 60))
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif", "--symmetry", "8") == 0
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.tags()["RUNTIME"].endswith("mean of 8 symmetries")
    assert run("predict", bundle, tmp_path / "scenes", "--out", tmp_path / "maps", "--symmetry", "8") == 0
    assert run("predict", bundle, tmp_path / "scenes", "--out", tmp_path / "maps") == 2
    assert "symmetry" in capsys.readouterr().err
    assert run("predict", bundle, scene, "--out", tmp_path / "b.tif", "--symmetry", "5") == 2
    assert "--symmetry" in capsys.readouterr().err
