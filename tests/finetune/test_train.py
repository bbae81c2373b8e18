import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bandloom.cli import main
from bandloom.command_line.config import load_config
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, TRAIN, BlockSplit
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.model.pixel_part import NETWORKS
from bandloom.finetune.scores.scoring import score_model
from bandloom.finetune.train import _fit_head, _prepare, _trainer
from bandloom.finetune.training.batches import training_steps
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.model.encoder import count_parameters
from bandloom.run_state.run_folder import RunFolder
from bandloom.scores import read_scores
from bandloom.sensors import get_sensor
from bandloom.shards.read.loader import Loader
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.loader_state import BEGINNING
from bandloom.training.ranks import Ranks
from tests.finetune.models import S2, encoder

FEW = (
    "trainer.steps=4",
    "trainer.batch_size=4",
    "trainer.workers=0",
    "trainer.engine.warmup_steps=1",
    "trainer.engine.precision=fp32",
    "chip_px=24",
    "bootstrap=50",
    "trainer.log_every=1",
    "warm_steps=10",
    "seeds=1",
)


def run(tmp_path, *overrides: str, out: str = "run", shards=None) -> int:
    config = tmp_path / "config.yaml"
    config.write_text(f"shards: {shards}\n" if shards else "{}")
    with pytest.raises(SystemExit) as end:
        main(["finetune", str(config), *FEW, *overrides, "--out", str(tmp_path / out)])
    return int(end.value.code or 0)


def test_a_segmenter_is_trained_scored_and_saved_beside_its_baselines(tmp_path, scene_shards, encoder_folder, capsys):
    code = run(tmp_path, f"checkpoint={encoder_folder}", "baselines=[majority, pixel_logistic]", shards=scene_shards)
    assert code == 0
    record = read_scores(tmp_path / "run" / "metrics.json")
    names = [row.name for row in record.rows]
    assert names == ["fine-tuned", "same network, random weights", "majority", "pixel_logistic"]
    assert [row.kind for row in record.rows] == ["model", "random weights", "trivial", "classic"]
    assert {row.seeds for row in record.rows} == {(0,)}
    assert len({row.scored_on for row in record.rows}) == 1  # all of them, at this size
    assert record.rows[0].interval_95["macro_f1"]
    model = load_task_model(tmp_path / "run" / "checkpoint")
    part = model.head.pixel
    still = [name for name, weight in zip(NETWORKS, part.weights, strict=True) if not weight and name != "values"]
    resting = sum(count_parameters(getattr(part, name)) for name in still)  # networks without weight
    assert record.parameters["trainable"] == record.parameters["total"] - resting
    shards = ShardSet(scene_shards)
    split = record.split
    data = PixelData(shards, BlockSplit(split["block_m"], split["buffer_m"]), S2)
    again = score_model("again", model, data, TEST)
    assert again.confusion.tolist() == [list(row) for row in record.confusion]
    pictures = (f"pictures/{name}.png" for name in ("confusion", "reliability", "curves", "worst"))
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "confusion.csv", "DONE", *pictures):
        assert (tmp_path / "run" / name).is_file()
    assert model.temperature == record.calibration["temperature"] != 1.0
    assert record.split["distance"]["least_m"] >= 60
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "validation_macro_f1" in line] == [0, 1, 2, 3, 4]
    assert "majority" in (tmp_path / "run" / "checkpoint" / "README.md").read_text()
    said = capsys.readouterr().out
    assert re.search(r"pixel_logistic", said)
    assert "parameters train" in said
    assert "a first model, its head fitted alone" in said
    assert re.search(
        r"random weights \(compare_random=false.*about \d+ s.*baselines \(baselines=\[\].*about \d+ s", said, re.S
    )


def test_a_classifier_learns_from_frozen_features_and_another_config_does_not_overwrite_it(
    tmp_path, chip_shards, encoder_folder, capsys
):
    few = ("task=classify", "mode=frozen", "compare_random=false", "baselines=[majority, stats_knn]")
    split = ("split.block_m=1200", "split.buffer_m=0")
    code = run(tmp_path, *few, *split, f"checkpoint={encoder_folder}", shards=chip_shards)
    assert code == 0
    record = read_scores(tmp_path / "run" / "metrics.json")
    assert record.parameters["trainable"] < 0.2 * record.parameters["total"]
    before = load_encoder(encoder_folder).state_dict()
    after = load_task_model(tmp_path / "run" / "checkpoint").encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    metrics = (tmp_path / "run" / "metrics.json").read_bytes()
    other = (*few, *split, f"checkpoint={encoder_folder}", "trainer.seed=1")
    assert run(tmp_path, *other, shards=chip_shards) == 2
    assert "another config" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.json").read_bytes() == metrics


LITTLE = {
    mode: (f"mode={mode}", size, "compare_random=false", "baselines=[majority]")
    for mode, size in (("lora", "lora_rank=2"), ("last", "last_blocks=1"))
}


def require_plain(folder):
    record = read_scores(folder / "run" / "metrics.json")
    assert record.parameters["trainable"] < record.parameters["total"]
    model = load_task_model(folder / "run" / "checkpoint")
    assert not any("base" in name for name in model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("mode", LITTLE)
def test_a_model_of_which_little_trained_is_saved_plain(tmp_path, scene_shards, encoder_folder, mode):
    """By products of low rank, or the last block alone."""
    assert run(tmp_path, *LITTLE[mode], f"checkpoint={encoder_folder}", shards=scene_shards) == 0
    require_plain(tmp_path)


def test_a_model_that_goes_on_trains_the_networks_that_counted(tmp_path, scene_shards):
    config = load_config(FinetuneConfig, None, [f"shards={scene_shards}", "size=demo", "chip_px=24"])
    setting, model = _prepare(config, Ranks.from_environment())
    model.head.pixel.weigh([0.0, 0.0, 0.4, 0.6, 0.0])
    folder = RunFolder(tmp_path / "run")
    trainer = _trainer(setting, model, folder)
    assert trainer.snapshots.save(2, trainer.engine.state(), {"config": {}})
    _, later = _prepare(config, Ranks.from_environment())
    assert not _fit_head(setting, later, folder)
    _trainer(setting, later, folder)
    trained, goes_on = ({name for name, value in m.named_parameters() if value.requires_grad} for m in (model, later))
    assert goes_on == trained
    assert any("pixel.wide" in name for name in trained)


@pytest.mark.slow
def test_every_network_that_trained_before_a_stop_trains_after_it(tmp_path, scene_shards, encoder_folder):
    """What goes on from the snapshot of step 2 ends with the weights and moments of what never stopped."""
    few = (f"checkpoint={encoder_folder}", "baselines=[majority]", "band_drops=false", "compare_random=false")
    few = (*few, "trainer.snapshot_every=2", "curve_points=0")
    assert run(tmp_path, *few, shards=scene_shards) == 0
    whole, resumed = tmp_path / "run", tmp_path / "resumed"
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "snapshots" / "step-00000004")
    for name in ("DONE", "metrics.json", "blocks.json"):
        (resumed / name).unlink()
    assert run(tmp_path, *few, shards=scene_shards, out="resumed") == 0
    one, other = (
        load_file(folder / "snapshots" / "step-00000004" / "rank-0.safetensors") for folder in (whole, resumed)
    )
    counts = dict(zip(NETWORKS, one["model.head.pixel.weights"].tolist(), strict=True))
    assert counts["wide"] or counts["linear"]  # which count by a fit alone, not as a head is drawn
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_batches_carry_labels_of_training_ground_alone(scene_shards):
    shards = ShardSet(scene_shards)
    split = BlockSplit(300, 60)
    data = PixelData(shards, split, S2)
    entries = {entry.key: entry for entry in shards.entries}
    places = {entry.key: i for i, entry in enumerate(shards.entries)}
    seen = 0
    for count, batch in enumerate(Loader(shards, data.indices_of(TRAIN), 4, crop_px=24, workers=0)):
        label = data.training_batch(batch).label
        for key, (x, y), given in zip(batch.keys, batch.corner_m, label, strict=True):
            entry = entries[key]
            whole = data.labelled(places[key], TRAIN).label
            row, column = int((entry.y_m - y) / 10), int((x - entry.x_m) / 10)
            assert (given == whole[row : row + 24, column : column + 24]).all()
            seen += int((given != 255).sum())
        if count == 5:
            break
    assert seen > 0


def test_the_loader_and_the_sample_give_identical_inputs(scene_shards):
    config = load_config(FinetuneConfig, None, [f"shards={scene_shards}", "size=demo", "chip_px=120", *FEW[:3]])
    ranks = Ranks(0, 0, 1, torch.device("cpu"))
    setting, _ = _prepare(config, ranks)
    step = next(iter(training_steps(setting, BEGINNING)))
    places = {entry.key: i for i, entry in enumerate(setting.data.shards.entries)}
    for row, key in enumerate(step.batch.keys):
        sample = setting.data.shards.read(places[key])
        for gsd, group in step.batch.groups.items():
            assert np.array_equal(group[row].numpy(), sample.groups[gsd])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("baselines=[pixel_fr]",), r"Did you mean 'pixel_rf'"),
        (("sensor=theos1",), r"hold no sensor 'theos1'"),
        (("task=classify",), r"no sample .* has a class of its own.*choose the other"),
        (("chip_px=25",), r"chip_px is 25"),
        (("checkpoint=nowhere",), r"nowhere is no checkpoint"),
        (("split.kind=blok",), r"split\.kind is 'blok'"),
        (("split.block_m=60000",), r"split leaves no label for .*split\.block_m"),
        (("split.buffer_m=400", "split.block_m=300"), r"split\.buffer_m is 400"),
        (("lr=1",), r"unknown key 'lr'"),
        (("size=huge",), r"size is 'huge'"),
        (("shards=nowhere",), r"nowhere holds no manifest"),
        (("chip_px=600",), r"chip_px is 600, but samples .* are 120 pixels wide"),
    ],
)
def test_bad_input_is_one_sentence_exit_2_and_an_untouched_disk(tmp_path, scene_shards, capsys, overrides, said):
    assert run(tmp_path, "size=demo", *overrides, shards=scene_shards) == 2
    message = capsys.readouterr().err
    assert re.search(said, message), message
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_checkpoint_of_another_sensor_is_refused(tmp_path, scene_shards, capsys):
    seen = get_sensor("landsat89-l1")
    save_encoder(tmp_path / "other", encoder(seen.slots), [seen], {})
    assert run(tmp_path, f"checkpoint={tmp_path / 'other'}", shards=scene_shards) == 2
    assert "was trained without B05, B06, B07, B08, B09, which 'sentinel2-l1c' brings" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_shards_without_labels_are_refused(tmp_path, scenes_folder, capsys):
    from bandloom.shards.build.build import build
    from bandloom.shards.build.plan import BuildOptions

    build([str(scenes_folder / "scenes")], tmp_path / "plain", BuildOptions(side_px=120))
    assert run(tmp_path, shards=tmp_path / "plain") == 2
    assert "carry no labels" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
