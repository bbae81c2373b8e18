"""Whole runs on a pretended card, from pretraining with a resume to scores and search: all equal to the CPU's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bandloom.cli import main
from bandloom.finetune import probe_run
from bandloom.finetune.text.aligned_model import save_aligned
from bandloom.scores import read_scores
from tests.card.pretend_card import TORCH, pretended_card
from tests.finetune.test_train import FEW
from tests.finetune.text.aligned_models import aligned

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.__version__.startswith(TORCH), reason=f"pretended for torch {TORCH} alone"),
]


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


def run(verb: str, *arguments: object) -> None:
    """Run a verb as a user types it; it must end well."""
    with pytest.raises(SystemExit) as end:
        main([verb, *map(str, arguments)])
    assert (end.value.code or 0) == 0


def config(folder: Path, **keys: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(keys))
    return path


def pretrained(shards: Path, folder: Path) -> list[float]:
    """Pretrain for six steps, then go on to nine."""
    folder.mkdir()
    engine = {"precision": "fp32", "warmup_steps": 2}
    trainer = {"batch_size": 4, "log_every": 1, "workers": 1, "steps": 6, "engine": engine}
    given = config(folder, shards=str(shards), size="demo", crop_px=60, pictures_every=3, trainer=trainer)
    run("pretrain", given, "--out", folder / "run")
    run("pretrain", "--resume", folder / "run", "trainer.steps=9")
    return losses(folder / "run")


def finetuned(shards: Path, checkpoint: Path, folder: Path) -> tuple[list[float], list[str]]:
    folder.mkdir()
    given = config(folder, shards=str(shards), checkpoint=str(checkpoint), baselines=["majority"], mode="full")
    run("finetune", given, *FEW, "--out", folder / "run")
    return losses(folder / "run"), [row.name for row in read_scores(folder / "run" / "metrics.json").rows]


def scored(folder: Path) -> dict[str, float]:
    """Return each row's macro-F1 of a report."""
    return {row.name: row.scores["macro_f1"] for row in read_scores(folder / "metrics.json").rows}


def test_scores_of_frozen_and_finished_models_on_the_card_are_the_cpus(tmp_path, scene_shards, monkeypatch):
    monkeypatch.setattr(probe_run, "alive", lambda work, _: work())  # the card is pretended in this thread alone
    given = config(tmp_path, shards=str(scene_shards), size="demo", baselines=["majority"])
    run("finetune", given, *FEW, "--out", tmp_path / "tuned")

    def both(folder: Path) -> list[dict[str, float]]:
        run("probe", given, "--out", folder / "probe")
        run("evaluate", tmp_path / "tuned", scene_shards, "--out", folder / "evaluate")
        return [scored(folder / "probe"), scored(folder / "evaluate")]

    expected = both(tmp_path / "cpu")
    with pretended_card() as watch:
        for given_scores, wanted in zip(both(tmp_path / "card"), expected, strict=True):
            assert given_scores == pytest.approx(wanted, abs=1e-3)
        files = {note.where.split(":")[0] for note in watch.notes}
    assert {"bandloom/probes.py", "finetune/probes/frozen_features.py", "finetune/scores/scoring.py"} <= files


def test_a_search_on_the_card_finds_what_the_cpu_does(tmp_path, chip_shards):
    save_aligned(tmp_path / "run" / "checkpoint", aligned())

    def found(name: str) -> str:
        index, table = tmp_path / f"{name}.parquet", tmp_path / name
        asked = ("--index", index, "--query", "water", "--top", 5, "--out", table)
        run("search", tmp_path / "run", "--images", chip_shards, *asked)
        return (table / "found.csv").read_text()

    expected = found("cpu")
    with pretended_card() as watch:
        assert found("card") == expected
    assert watch.notes


def test_a_whole_chain_on_the_card_is_the_cpus(tmp_path, scene_shards, scenes_folder):
    cpu, card = tmp_path / "cpu", tmp_path / "card"
    expected = pretrained(scene_shards, cpu)
    tuned, rows = finetuned(scene_shards, cpu / "run", tmp_path / "cpu-tuned")
    scene = next(path for path in sorted((scenes_folder / "scenes").iterdir()))
    run("embed", cpu / "run", scene, "--out", tmp_path / "cpu.tif")
    with pretended_card() as watch:
        assert pretrained(scene_shards, card) == pytest.approx(expected, rel=1e-4)
        assert finetuned(scene_shards, cpu / "run", tmp_path / "card-tuned") == (pytest.approx(tuned, rel=1e-4), rows)
        run("embed", cpu / "run", scene, "--out", tmp_path / "card.tif")
        assert watch.notes  # it was on the card
    import rasterio

    with rasterio.open(tmp_path / "cpu.tif") as one, rasterio.open(tmp_path / "card.tif") as two:
        np.testing.assert_allclose(one.read(), two.read(), atol=1e-4)
