"""Regression from values to a map: a planted relation is learnt, scores are scikit-learn's, maps are torch's."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from sklearn import metrics as oracle

from bandloom.cli import main
from bandloom.errors import BundleError, LabelError
from bandloom.export.bundle.answers import values
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.golden import GOLDEN, read_golden
from bandloom.export.predict.in_memory import predict_arrays
from bandloom.export.runtimes.verify import verify
from bandloom.finetune.data.splits import TEST, TRAIN, BlockSplit
from bandloom.finetune.data.values import ChipValueData, ValueData
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.scores.scoring import predict_role
from bandloom.scores import read_scores
from bandloom.shards.read.loader import Loader
from bandloom.shards.read.shard_set import ShardSet
from bandloom.target import parse_target
from tests.finetune.models import S2
from tests.finetune.planted_values import QUANTITY, write_values

FEW = ("trainer.steps=4", "trainer.batch_size=4", "trainer.workers=0", "bootstrap=50", "seeds=1", "size=demo")


def bandloom(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(scope="module", name="heights")
def planted_values(scenes_folder, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("values") / "heights"
    return folder, write_values(scenes_folder / "scenes", folder)


@pytest.fixture(scope="module", name="shards")
def value_shards(scenes_folder, heights) -> Path:
    out = heights[0].parent / "shards"
    given = ("--values", heights[0], "--quantity", QUANTITY, "--side", 120)
    assert bandloom("shards", "build", scenes_folder / "scenes", *given, "--out", out) == 0
    return out


@pytest.fixture(scope="module", name="run")
def a_run(shards) -> Path:
    folder = shards.parent / "run"
    (shards.parent / "c.yaml").write_text(f"shards: {shards}\ntask: regress\nchip_px: 60\n")
    few = (*FEW, "warm_steps=150", "baselines=[mean, pixel_ridge, pixel_boosting]")
    assert bandloom("finetune", shards.parent / "c.yaml", *few, "--out", folder) == 0
    return folder


def test_shards_hold_the_values_that_were_measured(shards, heights):
    held = ShardSet(shards)
    assert held.quantity == {"name": "canopy height", "unit": "m"}
    assert held.label_set is None
    for index, entry in enumerate(held.entries):
        name, place = entry.key.rsplit("_r", 1)
        row, column = (int(each) for each in place.split("_c"))
        expected = next(array for scene, array in heights[1].items() if scene in name or name in scene)
        part = expected[row * 120 : row * 120 + 120, column * 120 : column * 120 + 120]
        assert np.array_equal(held.values(index), part, equal_nan=True)


def test_a_scale_in_the_file_is_applied(scenes_folder, tmp_path):
    expected = write_values(scenes_folder / "scenes", tmp_path / "v", scale=0.5)
    given = ("--values", tmp_path / "v", "--quantity", QUANTITY, "--side", 240)
    assert bandloom("shards", "build", scenes_folder / "scenes", *given, "--out", tmp_path / "s") == 0
    held = ShardSet(tmp_path / "s")
    for index, heights in enumerate(expected.values()):
        assert np.array_equal(held.values(index), heights, equal_nan=True)


def test_labels_of_roles_are_values_of_their_own_ground(shards):
    data = ValueData(ShardSet(shards), BlockSplit(300, 60), S2)
    whole = data.shards.values(0)
    train, test = data.labelled(0, TRAIN), data.labelled(0, TEST)
    assert train is not None
    assert test is not None
    for found in (train, test):
        known = np.isfinite(found.label)
        assert np.array_equal(found.label[known], whole[known])
    assert not (np.isfinite(train.label) & np.isfinite(test.label)).any()
    assert data.counts[0, TRAIN, 0] == np.isfinite(train.label).sum()


def test_the_target_is_normalised_by_training_ground_alone(shards):
    data = ValueData(ShardSet(shards), BlockSplit(300, 60), S2)
    known = np.concatenate([sample.label[np.isfinite(sample.label)] for sample in data.samples(TRAIN)]).astype(
        np.float64
    )
    assert data.target.mean == pytest.approx(known.mean(), rel=1e-6)
    assert data.target.std == pytest.approx(known.std(), rel=1e-6)
    assert data.target.title == QUANTITY


@pytest.mark.parametrize(("mean", "std"), [(1e5, 3e4), (2e-6, 5e-7), (4e-10, 1e-10), (1e8, 50.0), (-3e-30, 1e-30)])
def test_a_quantity_of_any_size_is_normalised_and_comes_back(shards, monkeypatch, mean, std):
    stored = np.random.default_rng(0).normal(mean, std, (3, 500)).astype(np.float32)
    monkeypatch.setattr(ValueData, "_training_values", lambda _: iter(stored.astype(np.float64)))
    target = ValueData(ShardSet(shards), BlockSplit(300, 60), S2).target
    assert target.mean == pytest.approx(stored.mean(dtype=np.float64), rel=1e-9)
    assert target.std == pytest.approx(stored.std(dtype=np.float64), rel=1e-6)
    taught = target.to_output(stored)
    assert taught.std() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(target.to_values(taught), stored, rtol=1e-6, atol=1e-6 * std)


def test_values_that_are_all_the_same_are_refused_whatever_their_size(shards, monkeypatch):
    for value in (0.0, 3e-12, 7e9):
        monkeypatch.setattr(ValueData, "_training_values", lambda _, value=value: iter(np.full((2, 9), value)))
        with pytest.raises(LabelError, match="one value alone"):
            _ = ValueData(ShardSet(shards), BlockSplit(300, 60), S2).target


def test_batches_carry_normalised_values_of_training_ground_alone(shards):
    data = ValueData(ShardSet(shards), BlockSplit(300, 60), S2)
    batch = next(iter(Loader(data.shards, data.indices_of(TRAIN), 4, crop_px=24, workers=0)))
    given = data.training_batch(batch).label
    assert given is not None
    assert given.dtype == np.float32
    places = {entry.key: index for index, entry in enumerate(data.shards.entries)}
    for key, (x, y), label in zip(batch.keys, batch.corner_m, given, strict=True):
        entry, found = data.shards.entries[places[key]], data.labelled(places[key], TRAIN)
        assert found is not None
        row, column = int((entry.y_m - y) / 10), int((x - entry.x_m) / 10)
        expected = (found.label[row : row + 24, column : column + 24] - data.target.mean) / data.target.std
        np.testing.assert_allclose(label, expected, atol=1e-5)


def test_a_planted_relation_is_learnt_better_than_the_mean_and_the_line(run):
    record = read_scores(run / "metrics.json")
    rows = {row.name: row for row in record.rows}
    assert list(rows) == ["fine-tuned", "mean", "pixel_ridge", "pixel_boosting"]
    assert [row.kind for row in record.rows] == ["model", "trivial", "classic", "classic"]
    assert abs(rows["mean"].scores["r2"]) < 0.1
    assert rows["fine-tuned"].scores["r2"] > 0.5
    assert rows["fine-tuned"].scores["rmse"] < 0.7 * rows["mean"].scores["rmse"]
    assert rows["pixel_boosting"].scores["rmse"] < 0.7 * rows["mean"].scores["rmse"]
    assert rows["mean"].margin_95["rmse"][1] < 0  # the model's error is surely less
    low, high = rows["fine-tuned"].interval_95["rmse"]
    assert low <= rows["fine-tuned"].scores["rmse"] <= high
    assert record.target is not None
    assert record.target.unit == "m"


def test_the_scores_are_scikit_learns_on_what_the_saved_model_says(run, shards):
    model, record = load_task_model(run / "checkpoint"), read_scores(run / "metrics.json")
    split = record.split
    data = ValueData(ShardSet(shards), BlockSplit(split["block_m"], split["buffer_m"]), S2)
    truth, predicted = [], []
    for prediction in predict_role("again", model, data, TEST):
        known = np.isfinite(prediction.sample.label)
        truth.append(prediction.sample.label[known])
        predicted.append(model.target.to_values(prediction.logits[0])[known])
    truth, predicted = np.concatenate(truth).astype(np.float64), np.concatenate(predicted).astype(np.float64)
    scores = record.rows[0].scores
    assert record.rows[0].scored_on == len(truth)
    assert scores["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth, predicted), rel=1e-5)
    assert scores["mae"] == pytest.approx(oracle.mean_absolute_error(truth, predicted), rel=1e-5)
    assert scores["r2"] == pytest.approx(oracle.r2_score(truth, predicted), rel=1e-5)
    assert scores["bias"] == pytest.approx((predicted - truth).mean(), rel=1e-3, abs=1e-5)


def test_a_run_leaves_a_scatter_plot_a_card_and_predictions(run):
    for name in ("pictures/scatter.png", "pictures/curves.png", "DONE", "blocks.json"):
        assert (run / name).is_file()
    assert list(run.glob("predictions.*"))
    card = (run / "checkpoint" / "README.md").read_text()
    for text in ("canopy height in m", "| kind | RMSE (95 %) | MAE | bias | R2 |", "RMSE, MAE and bias are in m."):
        assert text in card
    assert json.loads((run / "checkpoint" / "config.json").read_text())["target"]["unit"] == "m"


@pytest.mark.slow
def test_a_map_holds_torchs_values_in_the_unit(run, scenes_folder, tmp_path):
    assert bandloom("export", run, "--out", tmp_path / "b") == 0
    bundle = read_bundle(tmp_path / "b")
    assert bundle.contract.target is not None
    assert bundle.contract.target.title == QUANTITY
    assert bundle.record.models[0].parity.argmax_agreement == 1.0
    scene = sorted((scenes_folder / "scenes").iterdir())[0]
    assert bandloom("predict", tmp_path / "b", scene, "--out", tmp_path / "m.tif", "--runtime", "onnxruntime-cpu") == 0
    model = load_task_model(run / "checkpoint")
    from bandloom.shards.scenes import open_scene

    with rasterio.open(tmp_path / "m.tif") as file, open_scene(scene) as opened, torch.no_grad():
        found = file.read(1)
        assert (file.dtypes, file.units, np.isnan(file.nodata)) == (("float32",), ("m",), True)
        assert file.tags()["UNIT"] == "m"
        assert json.loads(file.tags()["TARGET"])["name"] == "canopy height"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        tiling = bundle.contract.tiling
        margin, side = tiling.margin_px, tiling.tile_px
        groups = opened.read((0, 0, side * 10, side * 10))
        given = {gsd: torch.from_numpy(dn.astype(np.int32))[None] for gsd, dn in groups.items()}
        expected = model.target.to_values(model(given)[0, 0].numpy())
    golden, runner = read_golden(tmp_path / "b" / GOLDEN), verify(bundle, "fp32", runtime="onnxruntime-cpu")
    groups = golden.groups(bundle.contract)
    answered = values(bundle.contract, runner.run(groups), axis=1)
    with torch.no_grad():
        tensors = {gsd: torch.from_numpy(dn.astype(np.int32)) for gsd, dn in groups.items()}
        torchs = model.target.to_values(model(tensors)[:, 0].numpy())
    np.testing.assert_allclose(answered, torchs, atol=1e-3)  # metres
    there = predict_arrays(bundle.contract, runner, scene)
    np.testing.assert_array_equal(there.classes, found)  # from Python, the same values
    with pytest.raises(BundleError, match="which has no probabilities"):
        predict_arrays(bundle.contract, runner, scene, probabilities=True)
    core = slice(margin + tiling.taper_px, side - margin - tiling.taper_px)
    # the first tile begins a margin outside of the scene, so that only a whole scene's answers can be compared closely
    assert found.shape == (240, 240)
    assert np.isfinite(found).all()
    assert np.corrcoef(found[:side, :side][core, core].ravel(), expected[core, core].ravel())[0, 1] > 0.98


@pytest.mark.slow
def test_chips_take_their_values_from_a_table(chips_folder, tmp_path):
    chips = sorted((chips_folder / "chips").rglob("*.tif"))
    with (tmp_path / "v.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "tonnes"])
        for number, chip in enumerate(chips[1:]):
            with rasterio.open(chip) as raster:
                bands = raster.read().astype(np.float64)
            writer.writerow([chip.relative_to(chips_folder), bands.mean() / 100 + number % 2])
    given = ("--values", tmp_path / "v.csv", "--quantity", "biomass [t/ha]", "--label-field", "tonnes", "--side", 24)
    assert bandloom("shards", "build", chips_folder / "chips", *given, "--out", tmp_path / "s") == 0
    shards = ShardSet(tmp_path / "s")
    assert sum(entry.value is not None for entry in shards.entries) == len(chips) - 1
    (tmp_path / "c.yaml").write_text(
        f"shards: {tmp_path / 's'}\ntask: regress_chips\nsplit: {{block_m: 1200, buffer_m: 0}}\n"
    )
    few = (*FEW, "baselines=[mean, stats_ridge, stats_rf, stats_boosting]", "compare_random=false")
    assert bandloom("finetune", tmp_path / "c.yaml", *few, "--out", tmp_path / "run") == 0
    rows = {row.name: row.scores for row in read_scores(tmp_path / "run" / "metrics.json").rows}
    assert rows["stats_ridge"]["r2"] > 0.5
    assert rows["fine-tuned"]["rmse"] < rows["mean"]["rmse"]
    assert bandloom("export", tmp_path / "run", "--out", tmp_path / "b") == 0
    scene = sorted((chips_folder / "chips").rglob("*.tif"))[0]
    assert bandloom("predict", tmp_path / "b", scene, "--out", tmp_path / "t.json") == 0
    (feature,) = json.loads((tmp_path / "t.json").read_text())["features"]
    assert feature["properties"]["unit"] == "t/ha"
    data = ChipValueData(shards, BlockSplit(1200, 0), S2)
    assert data.labelled(int(data.indices[0]), data.role_of(int(data.indices[0]))).label.dtype == np.float32


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--values", "v"), "--values and --quantity go together"),
        (("--values", "v", "--quantity", "[m]"), "the quantity '\\[m\\]' is not understood"),
        (("--values", "nowhere", "--quantity", "height [m]"), "has no values at .*--values takes"),
    ],
)
def test_a_build_without_usable_values_is_one_sentence(scenes_folder, tmp_path, capsys, words, said):
    assert bandloom("shards", "build", scenes_folder / "scenes", *words, "--out", tmp_path / "s") == 2
    import re

    message = capsys.readouterr().err
    assert re.search(said, message), message


def test_shards_without_values_say_how_they_are_made(scene_shards):
    with pytest.raises(LabelError, match=r"carry no measured values.*--values RASTERS --quantity"):
        ValueData(ShardSet(scene_shards), BlockSplit(300, 60), S2)


def test_a_quantity_is_read_with_or_without_a_unit():
    assert (parse_target("canopy height [m]").name, parse_target("canopy height [m]").unit) == ("canopy height", "m")
    assert parse_target("NDVI").title == "NDVI"
    with pytest.raises(LabelError):
        parse_target("")


@pytest.mark.slow
def test_a_folder_of_value_maps_is_kept_and_another_models_is_refused(run, scenes_folder, tmp_path, capsys):
    assert bandloom("export", run, "--out", tmp_path / "b") == 0
    scenes = sorted((scenes_folder / "scenes").iterdir())
    words = ("predict", tmp_path / "b", *scenes, "--out", tmp_path / "maps", "--runtime", "onnxruntime-cpu")
    assert bandloom(*words) == 0
    made = {path.name: path.read_bytes() for path in (tmp_path / "maps").glob("*.tif")}
    assert len(made) == len(scenes)
    assert bandloom(*words) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "maps").glob("*.tif")} == made
    capsys.readouterr()
    assert bandloom("predict", tmp_path / "b", scenes[0], "--confidence", "--out", tmp_path / "one.tif") == 2
    assert "for which there is no --confidence; leave it out" in capsys.readouterr().err
    assert not list(tmp_path.glob("*one*"))


def test_a_model_is_scored_again_on_its_own_and_on_all_ground(run, shards, tmp_path):
    assert bandloom("evaluate", run, shards, "--out", tmp_path / "own") == 0
    own, before = read_scores(tmp_path / "own" / "metrics.json"), read_scores(run / "metrics.json")
    assert own.rows[0].scores == before.rows[0].scores
    assert bandloom("evaluate", run, shards, "--ground", "all", "--out", tmp_path / "all") == 0
    whole = read_scores(tmp_path / "all" / "metrics.json")
    assert whole.rows[0].scored_on > own.rows[0].scored_on
    assert whole.rows[0].scores["r2"] > 0.5  # by the model's own normalisation: none of this ground trains


def test_values_in_another_unit_are_not_scored(run, scenes_folder, heights, tmp_path, capsys):
    given = ("--values", heights[0], "--quantity", "canopy height [ft]", "--side", 120)
    assert bandloom("shards", "build", scenes_folder / "scenes", *given, "--out", tmp_path / "feet") == 0
    assert bandloom("evaluate", run, tmp_path / "feet", "--out", tmp_path / "out") == 2
    assert "the model predicts canopy height [m]" in capsys.readouterr().err


@pytest.mark.slow
def test_two_value_maps_are_not_compared_as_classes(run, scenes_folder, tmp_path, capsys):
    assert bandloom("export", run, "--out", tmp_path / "b") == 0
    scenes = sorted((scenes_folder / "scenes").iterdir())[:2]
    assert bandloom("predict", tmp_path / "b", "--change", *scenes, "--out", tmp_path / "c.tif") == 2
    assert "maps values, not classes" in capsys.readouterr().err
    assert not (tmp_path / "c.tif").exists()
