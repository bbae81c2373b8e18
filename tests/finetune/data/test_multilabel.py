"""Chips with several classes: targets, losses that fit, and a run."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bandloom.cli import main
from bandloom.errors import ConfigError, LabelError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.multilabel import MultilabelData, read_table
from bandloom.finetune.data.splits import TRAIN, BlockSplit
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.tasks.registry import get_task
from bandloom.scores import read_scores
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import LABELS, S2

NAMES = LABELS.names


def test_a_loss_of_another_task_is_refused():
    with pytest.raises(ConfigError, match="loss is 'dice', which task multilabel cannot use"):
        get_task("multilabel").loss("dice")
    with pytest.raises(ConfigError, match="loss is 'asymmetric'"):
        get_task("segment").loss("asymmetric")


def test_a_raster_says_which_classes_cover_enough_of_a_chip():
    shards = FakeShards(3, 24)
    label = np.zeros((24, 24), np.uint8)
    label[:2], label[0, :5], label[12:] = 1, 2, 255
    shards.samples[0] = replace(shards.samples[0], label=label)
    split = BlockSplit(600, 0)
    assert MultilabelData(shards, split, S2, 0.1)._targets[0].tolist() == [1, 1, 0]
    assert MultilabelData(shards, split, S2, 0.01)._targets[0].tolist() == [1, 1, 1]


def test_a_table_names_the_classes_of_scenes(tmp_path):
    table = tmp_path / "t.json"
    table.write_text(json.dumps({"s0": ["water", "field"], "s1": [], "elsewhere": ["forest"]}))
    data = MultilabelData(FakeShards(3, 24), BlockSplit(600, 0), S2, 0.1, table)
    assert data.indices.tolist() == [0]  # a chip without a class teaches nothing
    assert data.targets(["s0"]).tolist() == [[1, 0, 1]]
    for text, said in (("[1]", "no table"), ('{"s0": ["sea"]}', "names the class 'sea'"), ("", "no table")):
        table.write_text(text)
        with pytest.raises(LabelError, match=said):
            read_table(table, LABELS)


def test_counts_are_those_of_the_targets():
    data = MultilabelData(FakeShards(30, 24), BlockSplit(600, 0), S2, 0.1)
    for role in range(3):
        targets = [sample.label for sample in data.samples(role)]
        assert data.counts.sum(0)[role].tolist() == (np.sum(targets, 0).tolist() if targets else [0, 0, 0])
    assert len(data.indices_of(TRAIN))


def test_a_run_ends_with_thresholds_and_baselines(tmp_path, scenes_folder):
    labels = {"labels": str(scenes_folder / "labels"), "label_set": str(scenes_folder / "label_set.yaml")}
    build([str(scenes_folder / "scenes")], tmp_path / "shards", BuildOptions(side_px=60, **labels))
    (tmp_path / "c.yaml").write_text(
        f"shards: {tmp_path / 'shards'}\ntask: multilabel\nsize: demo\nsplit: {{buffer_m: 0}}\n"
    )
    few = (
        "trainer.steps=4",
        "trainer.batch_size=8",
        "trainer.workers=0",
        "bootstrap=20",
        "presence=0.1",
        "baselines=[base_rates, stats_logistic]",
    )
    with pytest.raises(SystemExit) as end:
        main(["finetune", str(tmp_path / "c.yaml"), *few, "--out", str(tmp_path / "run")])
    assert not end.value.code
    record = read_scores(tmp_path / "run" / "metrics.json")
    assert [row.name for row in record.rows] == ["fine-tuned", "base_rates", "stats_logistic"]
    scores = {row.name: row.scores["map_macro"] for row in record.rows}
    assert scores["stats_logistic"] > scores["base_rates"]
    assert record.over_seeds[0].seeds == (0, 1, 2)  # so few chips are trained on three times
    assert record.over_seeds[0].by_seed["map_macro"][0] == scores["fine-tuned"]
    model = load_task_model(tmp_path / "run" / "checkpoint")
    assert model.thresholds == tuple(land_class.scores["threshold"] for land_class in record.rows[0].classes)
    assert model.temperature == record.calibration["temperature"]
    assert "base_rates" in (tmp_path / "run" / "checkpoint" / "README.md").read_text()
    assert (tmp_path / "run" / "pictures" / "reliability.png").exists()
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "validation_map_macro" in line] == [0, 1, 2, 3, 4]
    best = json.loads((tmp_path / "run" / "snapshots" / "best.json").read_text())
    saved = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
    assert saved["provenance"]["steps"] == best["step"]  # the step that validation chips score best


def test_the_step_that_is_kept_and_the_looks_can_be_chosen_as_for_other_tasks(tmp_path):
    chosen = FinetuneConfig(shards=tmp_path, task="multilabel", keep="last", curve_points=2)
    assert (chosen.keep, chosen.curve_points) == ("last", 2)
    assert chosen.warm_steps == FinetuneConfig(shards=tmp_path, task="multilabel").warm_steps  # no other default moves
