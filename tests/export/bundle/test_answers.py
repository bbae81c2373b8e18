"""Models that find any number of classes in a chip: thresholds travel, and each class has its own probability."""

import csv
import json

import numpy as np
import torch

from bandloom.export.bundle.answers import decisions, probabilities
from bandloom.export.from_torch.export_run import export_run
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.runtimes.verify import verify
from tests.export.from_torch.test_export_run import task_model, write_run
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import LABELS, random_chips


def test_thresholds_and_temperature_decide_tile_by_tile(tmp_path):
    model = task_model(task="multilabel", depth=1)
    model.temperature, model.thresholds = 1.5, (0.3, 0.5, 0.6, 0.45)
    write_run(tmp_path / "run", model)
    bundle = export_run(tmp_path / "run", tmp_path / "bundle")
    assert bundle.contract.thresholds == (0.3, 0.5, 0.6, 0.45)
    chips = random_chips(bundle.contract, 4)
    logits = verify(bundle).run(chips)
    np.testing.assert_allclose(logits, torch_logits(model, chips), atol=1e-4)
    shares = torch.sigmoid(torch.from_numpy(logits) / 1.5).numpy()
    np.testing.assert_allclose(probabilities(bundle.contract, logits, axis=1), shares, atol=1e-6)
    there = shares >= np.array(model.thresholds)
    np.testing.assert_array_equal(decisions(bundle.contract, logits), there)

    scene = write_stack(tmp_path / "scene.tif", (70, 80))
    assert run("predict", bundle.path, scene, "--out", tmp_path / "tiles.json") == 0
    tiles = [feature["properties"] for feature in json.loads((tmp_path / "tiles.json").read_text())["features"]]
    assert len(tiles) == 6
    for tile in tiles:
        over = [name for name, t in zip(LABELS.names, model.thresholds, strict=True) if tile["shares"][name] >= t]
        assert tile["classes"] == over
        assert all(0 <= share <= 1 for share in tile["shares"].values())
    assert run("predict", bundle.path, scene, "--out", tmp_path / "tiles.csv") == 0
    rows = list(csv.DictReader((tmp_path / "tiles.csv").read_text().splitlines()))
    assert [row["classes"].split(";") if row["classes"] else [] for row in rows] == [tile["classes"] for tile in tiles]
    assert run("predict", bundle.path, scene, "--out", tmp_path / "map.tif") == 2


def test_thresholds_that_do_not_fit_the_classes_are_refused(tmp_path, capsys):
    model = task_model(task="multilabel")
    model.thresholds = (0.3, 0.5)
    write_run(tmp_path / "run", model)
    assert run("export", tmp_path / "run", "--out", tmp_path / "bundle") == 2
    assert "2 thresholds for 4 classes" in capsys.readouterr().err
