from dataclasses import replace

import numpy as np
import pytest

from bandloom.command_line.config import load_config
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.from_torch.ensemble import Ensemble
from bandloom.export.from_torch.export_run import ground_of, load_ensemble, load_model, seeds_in
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import TRAIN, VAL
from bandloom.finetune.experiment import open_data, open_experiment
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.scores.calibration import fit_temperature
from bandloom.finetune.scores.evaluation import evaluate
from bandloom.finetune.scores.over_seeds import SeedScores, over_seeds, seed_lines, summary_of
from bandloom.finetune.seeds import SMALL_CHIPS, seeds_of, training_chips
from bandloom.scores import ScoreRecord, ScoreRow, read_scores
from bandloom.training.ranks import Ranks
from tests.export.predict.test_map_scene import run as export_command
from tests.finetune.test_train import run

FOUND = [SeedScores("a", seed, {"macro_f1": score}) for seed, score in ((3, 0.5), (4, 0.7), (5, 0.6))]


@pytest.fixture(name="experiment")
def a_small_setting(scene_shards):
    config = load_config(FinetuneConfig, None, [f"shards={scene_shards}", "size=demo", "chip_px=24", "trainer.seed=3"])
    return open_experiment(config, Ranks.from_environment())[0]


def test_mean_and_deviation_over_seeds_are_those_of_a_sample():
    (row,) = over_seeds(FOUND)
    assert row.seeds == (3, 4, 5)
    assert np.isclose(row.mean["macro_f1"], 0.6)
    assert np.isclose(row.deviation["macro_f1"], np.std([0.5, 0.7, 0.6], ddof=1))


def a_record(**rows: float) -> ScoreRecord:
    scored = [
        ScoreRow(name=name, kind="model", scores={"macro_f1": value}, blocks=1, fitted_on=1, scored_on=1)
        for name, value in rows.items()
    ]
    return ScoreRecord(task="segment", sensor="s", label_set={}, split={}, rows=tuple(scored))


def test_a_record_of_one_seed_has_no_summary():
    assert summary_of(a_record(a=0.5), [], 3, ["macro_f1"]) == ()
    assert seed_lines(a_record(a=0.5), "macro_f1") == []


def test_a_run_s_own_seed_is_the_first_of_its_table():
    record = a_record(a=0.5, forest=0.1)
    found = summary_of(record, FOUND[1:], 3, ["macro_f1"])
    assert [row.name for row in found] == ["a"]  # baselines are fitted once
    assert seed_lines(record.model_copy(update={"over_seeds": found}), "macro_f1") == [
        "a over seeds 3, 4, 5: macro_f1 0.600 with a deviation of 0.100 (0.500, 0.700, 0.600)"
    ]


def test_little_ground_is_trained_on_from_three_seeds_and_much_from_one(experiment, monkeypatch):
    assert 0 < training_chips(experiment) < SMALL_CHIPS
    assert training_chips(experiment) == int(experiment.data.counts.sum((0, 2))[TRAIN]) // 24**2
    assert seeds_of(experiment) == [3, 4, 5]
    monkeypatch.setattr("bandloom.finetune.seeds.SMALL_CHIPS", 1)
    assert seeds_of(experiment) == [3]
    assert seeds_of(replace(experiment, config=experiment.config.with_changes(seeds=2))) == [3, 4]


@pytest.mark.slow
def test_two_seeds_leave_two_trainings_of_the_model(tmp_path, scene_shards, encoder_folder, capsys):
    few = ("seeds=2", "trainer.steps=2", "baselines=[majority]", "band_drops=false", "compare_random=false")
    assert run(tmp_path, *few, f"checkpoint={encoder_folder}", shards=scene_shards) == 0
    found = read_scores(tmp_path / "run" / "metrics.json")
    (row,) = found.over_seeds
    assert (row.name, row.seeds) == ("fine-tuned", (0, 1))
    assert row.by_seed["macro_f1"][0] == found.rows[0].scores["macro_f1"]
    assert row.deviation["macro_f1"] > 0  # another seed trains another model
    assert (tmp_path / "run" / "seed-1" / "DONE").is_file()
    first, second = (load_task_model(tmp_path / "run" / name / "checkpoint") for name in (".", "seed-1"))
    assert first.temperature != second.temperature  # each is calibrated
    assert "over seeds 0, 1" in capsys.readouterr().out
    assert "over seeds 0, 1" in (tmp_path / "run" / "checkpoint" / "README.md").read_text()


@pytest.mark.slow
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
    both, alone = (read_scores(tmp_path / name / "metrics.json") for name in ("both", "alone"))
    assert both.over_seeds[0].by_seed["macro_f1"][1] == alone.rows[0].scores["macro_f1"]


@pytest.mark.slow
def test_a_run_of_two_seeds_becomes_a_calibrated_ensemble(tmp_path, scene_shards, encoder_folder):
    few = ("seeds=2", "trainer.steps=2", "baselines=[majority]", "band_drops=false", "compare_random=false")
    assert run(tmp_path, *few, f"checkpoint={encoder_folder}", shards=scene_shards) == 0
    place = tmp_path / "run"
    ensemble, provenance = load_ensemble([place, *seeds_in(place)])
    assert len(provenance["members"]) == 2
    config = FinetuneConfig(**ground_of(place, provenance).config)
    plain = Ensemble([load_model(place / "checkpoint")[0], load_model(place / "seed-1" / "checkpoint")[0]])
    seen = evaluate("ensemble", plain, open_data(config), VAL)
    assert np.isclose(ensemble.temperature, fit_temperature(seen.logits, seen.labels), rtol=1e-3)
    assert provenance["calibration"]["temperature"] == ensemble.temperature
    assert 0 <= provenance["calibration"]["test_error_after"] <= 1
    assert export_command("export", place, "--ensemble", "--out", tmp_path / "bundle") == 0
    assert read_bundle(tmp_path / "bundle").contract.temperature == pytest.approx(ensemble.temperature)
