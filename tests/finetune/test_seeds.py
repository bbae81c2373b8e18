import json
from dataclasses import replace

import numpy as np
import pytest

from bandloom.config import load_config
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.scores.over_seeds import add_seeds, over_seeds, seed_lines
from bandloom.finetune.seeds import SMALL_CHIPS, seeds_of, training_chips
from bandloom.finetune.setting import open_setting
from bandloom.training.ranks import Ranks
from tests.finetune.test_train import run

RECORDS = [{"name": "a", "seed": seed, "macro_f1": score} for seed, score in ((3, 0.5), (4, 0.7), (5, 0.6))]


@pytest.fixture(name="setting")
def a_small_setting(scene_shards):
    config = load_config(FinetuneConfig, None, [f"shards={scene_shards}", "size=demo", "chip_px=24", "trainer.seed=3"])
    return open_setting(config, Ranks.from_environment())[0]


def test_mean_and_deviation_over_seeds_are_those_of_a_sample():
    (row,) = over_seeds(RECORDS)
    assert row["seeds"] == [3, 4, 5]
    assert np.isclose(row["mean"]["macro_f1"], 0.6)
    assert np.isclose(row["deviation"]["macro_f1"], np.std([0.5, 0.7, 0.6], ddof=1))


def test_a_record_of_one_seed_stays_as_it_is():
    record = {"rows": [{"name": "a", "macro_f1": 0.5}]}
    add_seeds(record, [], 3, ["macro_f1"])
    assert "seeds" not in record
    assert seed_lines(record) == []


def test_a_run_s_own_seed_is_the_first_of_its_table():
    record = {"rows": [{"name": "a", "macro_f1": 0.5}, {"name": "floor", "macro_f1": 0.1}]}
    add_seeds(record, RECORDS[1:], 3, ["macro_f1"])
    assert [row["name"] for row in record["seeds"]] == ["a"]  # floors are fitted once
    assert seed_lines(record) == [
        "a over seeds 3, 4, 5: macro_f1 0.600 with a deviation of 0.100 (0.500, 0.700, 0.600)"
    ]


def test_little_ground_is_trained_on_from_three_seeds_and_much_from_one(setting, monkeypatch):
    assert 0 < training_chips(setting) < SMALL_CHIPS
    assert training_chips(setting) == int(setting.data.counts.sum((0, 2))[TRAIN]) // 24**2
    assert seeds_of(setting) == [3, 4, 5]
    monkeypatch.setattr("bandloom.finetune.seeds.SMALL_CHIPS", 1)
    assert seeds_of(setting) == [3]
    assert seeds_of(replace(setting, config=setting.config.with_changes(seeds=2))) == [3, 4]


def test_two_seeds_leave_two_trainings_of_the_model(tmp_path, scene_shards, encoder_folder, capsys):
    few = ("seeds=2", "trainer.steps=2", f"checkpoint={encoder_folder}", "baselines=[majority]", "band_drops=false")
    assert run(tmp_path, *few, shards=scene_shards) == 0
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    (row,) = found["seeds"]
    assert (row["name"], row["seeds"]) == ("fine-tuned", [0, 1])
    assert row["by_seed"]["macro_f1"][0] == found["rows"][0]["macro_f1"]
    assert row["deviation"]["macro_f1"] > 0  # another seed trains another model
    assert (tmp_path / "run" / "seed-1" / "DONE").is_file()
    assert "over seeds 0, 1" in capsys.readouterr().out
    assert "over seeds 0, 1" in (tmp_path / "run" / "checkpoint" / "README.md").read_text()


def test_a_second_seed_gives_what_a_run_of_its_own_would(tmp_path, scene_shards, encoder_folder):
    few = (
        "trainer.steps=2",
        f"checkpoint={encoder_folder}",
        "baselines=[majority]",
        "band_drops=false",
        "compare_random=false",
    )
    assert run(tmp_path, *few, "seeds=2", shards=scene_shards, out="both") == 0
    assert run(tmp_path, *few, "trainer.seed=1", shards=scene_shards, out="alone") == 0
    both, alone = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("both", "alone"))
    assert both["seeds"][0]["by_seed"]["macro_f1"][1] == alone["rows"][0]["macro_f1"]
