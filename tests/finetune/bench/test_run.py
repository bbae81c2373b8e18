"""``bandloom bench`` as it is typed: two small sets and an encoder; what is there is taken as it is."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bandloom.cli import main
from bandloom.command_line.config import load_config
from bandloom.errors import SceneError
from bandloom.finetune.bench.config import BenchConfig
from bandloom.finetune.bench.run import _score_all
from bandloom.finetune.bench.sets import find_sets
from bandloom.finetune.bench.sources import baseline_sources
from bandloom.finetune.bench.unit import Unit
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.experiment import open_data
from bandloom.finetune.probes.frozen_features import frozen_features
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.scores import read_scores
from tests.finetune.models import S2

FEW = ("--seeds", "1", "--c-values", "3", "--bootstrap", "20", "--pixels", "400")


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(name="sets", scope="module")
def two_sets(tmp_path_factory, chip_shards, scene_shards) -> Path:
    """Labelled shards as they are, and a set whose config names its shards."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "chips").mkdir()
    split = "split: {block_m: 1200, buffer_m: 0}\n"
    (folder / "chips" / "finetune.yaml").write_text(f"shards: {chip_shards}\ntask: classify\n{split}")
    (folder / "scenes").symlink_to(scene_shards, target_is_directory=True)
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(name="table", scope="module")
def a_table(tmp_path_factory, sets, encoder_folder) -> Path:
    out = tmp_path_factory.mktemp("bench") / "out"
    assert run("bench", "--sets", sets, "--encoder", encoder_folder, "--out", out, *FEW) == 0
    return out


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_row_for_every_set_encoder_and_classifier_beside_the_baselines(table, encoder_folder):
    name = encoder_folder.parent.name
    images = ("knn5", "knn20", "linear")
    sources = (name, f"{name}, random weights", "image statistics", "512 random filters")
    expected = [("chips", source, method) for source in sources[:2] for method in images]
    expected += [("chips", sources[2], method) for method in (*images, "forest")]
    expected += [("chips", sources[3], method) for method in images] + [("chips", "base rates", "majority")]
    expected += [("scenes", source, "linear") for source in sources[:3]] + [("scenes", sources[2], "forest")]
    expected += [("scenes", sources[3], "linear"), ("scenes", "base rates", "majority")]
    assert [(line["dataset"], line["name"], line["method"]) for line in lines(table)] == expected
    assert {line["metric_name"] for line in lines(table)} == {"accuracy", "mIoU"}
    written = (table / "table.md").read_text()
    assert all(source in written for source in sources)
    for line in lines(table):
        assert float(line["ci_lower"]) <= float(line["ci_upper"]), line


@pytest.mark.slow
def test_rows_of_a_set_are_scored_on_the_same_labels(table):
    for name in ("chips", "scenes"):
        assert len({line["n_test"] for line in lines(table) if line["dataset"] == name}) == 1


@pytest.mark.slow
def test_five_neighbours_score_what_a_naive_loop_scores(table, sets, encoder_folder):
    data = open_data(load_config(FinetuneConfig, sets / "chips" / "finetune.yaml"))
    features = frozen_features(load_encoder(encoder_folder).eval(), data, 0)
    train, test = features.of(TRAIN), features.of(TEST)
    right = 0
    for row, label in zip(test.mean, test.labels, strict=True):
        nearest = np.argsort(((train.mean - row) ** 2).sum(1))[:5]
        right += int(np.bincount(train.labels[nearest]).argmax() == label)
    (line,) = [line for line in lines(table) if line["name"] == encoder_folder.parent.name and line["method"] == "knn5"]
    assert float(line["metric_value"]) == pytest.approx(right / len(test.labels))


@pytest.mark.slow
def test_typed_again_nothing_is_scored_again_and_a_lost_or_damaged_row_alone_is(table, sets, encoder_folder):
    written = {path: path.stat().st_mtime_ns for path in (table / "rows").rglob("*.json")}
    before = (table / "table.csv").read_text()
    lost, damaged, *others = sorted(path for path in written if "base-rates" in path.name or "forest" in path.name)
    lost.unlink()
    damaged.write_text("{")
    assert run("bench", "--sets", sets, "--encoder", encoder_folder, "--out", table, *FEW) == 0
    again = {path: path.stat().st_mtime_ns for path in (table / "rows").rglob("*.json")}
    assert set(again) == set(written)
    assert {path for path in written if again[path] != written[path]} == {lost, damaged}
    assert others

    def scores(text: str) -> list[list[str]]:
        return [line.split(",")[:-1] for line in text.splitlines()]

    assert scores((table / "table.csv").read_text()) == scores(before)


@pytest.mark.slow
def test_parts_score_disjoint_rows_and_make_the_same_table(tmp_path, table, sets, encoder_folder):
    words = ("bench", "--sets", sets, "--only", "scenes", "--encoder", encoder_folder, "--out", tmp_path, *FEW)
    assert run(*words, "--part", "1/2") == 0
    first = {path.name for path in (tmp_path / "rows" / "scenes").iterdir()}
    assert "rows are not there yet" in (tmp_path / "table.md").read_text()
    assert run(*words, "--part", "2/2") == 0
    assert first < {path.name for path in (tmp_path / "rows" / "scenes").iterdir()}
    held = [line for line in lines(table) if line["dataset"] == "scenes"]
    for one, two in zip(lines(tmp_path), held, strict=True):
        assert one | {"seconds": ""} == two | {"seconds": ""}


@pytest.mark.slow
def test_a_row_says_what_made_it(table):
    for path in (table / "rows").rglob("*.json"):
        row = json.loads(path.read_text())
        assert row["made_of"]
        assert row["told"]["environment"]["bandloom"]
        assert row["row"]["kind"] in ("model", "random weights", "classic", "trivial")


def test_one_encoder_on_one_set_gives_three_rows_and_a_set_that_cannot_be_scored_is_said(
    tmp_path, sets, encoder_folder, capsys
):
    words = ("bench", "--sets", sets, "--only", "chips", "--encoder", encoder_folder, "--out", tmp_path, *FEW)
    assert run(*words, "--no-baselines") == 0
    assert [line["method"] for line in lines(tmp_path)] == ["knn5", "knn20", "linear"]
    assert "3 of 3 rows are scored" in capsys.readouterr().out
    assert run("bench", "--sets", sets, "--only", "chip", "--out", tmp_path) == 2
    assert "use chips, scenes. Did you mean 'chips'?" in capsys.readouterr().err


TINY = "trainer: {steps: 4, batch_size: 8, workers: 0, engine: {precision: fp32, warmup_steps: 1}}\nwarm_steps: 10\n"


@pytest.fixture(name="tuned")
def a_set_with_a_short_recipe(tmp_path, chip_shards) -> Path:
    folder = tmp_path / "tuned" / "chips"
    folder.mkdir(parents=True)
    split = "split: {block_m: 1200, buffer_m: 0}\n"
    (folder / "finetune.yaml").write_text(f"shards: {chip_shards}\ntask: classify\n{split}{TINY}")
    return folder.parent


@pytest.mark.slow
def test_fine_tuned_rows_are_means_over_seeds_and_other_weights_in_one_place_are_trained_anew(
    tmp_path, tuned, encoder_folder
):
    encoder = tmp_path / "ours" / "checkpoint"
    shutil.copytree(encoder_folder, encoder)
    words = ("bench", "--sets", tuned, "--encoder", encoder, "--fine-tune", "--out", tmp_path / "out")
    words = (*words, "--seeds", "2", *FEW[2:])
    assert run(*words) == 0
    held = tmp_path / "out" / "rows" / "chips"
    files = [path for path in sorted(held.iterdir()) if "finetuned" in path.name]
    rows = {record["source"]: record for record in (json.loads(path.read_text()) for path in files)}
    assert set(rows) == {"ours", "ours, random weights"}
    for record in rows.values():
        by_seed = record["row"]["by_seed"]["overall"]
        assert record["row"]["seeds"] == [0, 1]
        assert record["row"]["scores"]["overall"] == pytest.approx(np.mean(by_seed))
    runs = tmp_path / "out" / "finetuned" / "chips" / "ours"
    seeds = {path.name: read_scores(path / "metrics.json").rows for path in sorted(runs.iterdir())}
    assert sorted(name.partition("-")[2] for name in seeds) == ["seed-0", "seed-1"]
    each = sorted(found[0].scores["overall"] for found in seeds.values())
    assert sorted(rows["ours"]["row"]["by_seed"]["overall"]) == pytest.approx(each)
    written = {path: path.stat().st_mtime_ns for path in runs.iterdir()}
    assert run(*words) == 0
    assert {path: path.stat().st_mtime_ns for path in runs.iterdir()} == written

    changed = load_encoder(encoder)
    with torch.no_grad():
        for value in changed.parameters():
            value.mul_(1.5)
    save_encoder(encoder, changed, [S2], {"made_by": "the tests"}, overwrite=True)
    assert run(*words) == 0
    assert len(list(runs.iterdir())) == 4
    again = json.loads(next(path for path in files if "random" not in path.name).read_text())
    assert again["made_of"] != rows["ours"]["made_of"]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["frozen", "fine-tuning"])
def test_a_bench_that_is_asked_to_stop_ends_in_seconds_with_75_and_goes_on(tmp_path, tuned, encoder_folder, when):
    if when == "fine-tuning":
        config = tuned / "chips" / "finetune.yaml"
        config.write_text(config.read_text().replace("steps: 4,", "steps: 20000,"))
    out = tmp_path / "out"
    words = ["bench", "--sets", tuned, "--encoder", encoder_folder, "--out", out, "--fine-tune", *FEW]
    command = [sys.executable, "-m", "bandloom.cli", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wanted = "rows/**/*.json" if when == "frozen" else "finetuned/**/snapshots/step-*"
    until = time.monotonic() + 300
    while not list(out.glob(wanted)) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert time.monotonic() - began < 60  # on a busy machine; a few seconds alone
    assert "rows are not there yet" in (out / "table.md").read_text()
    assert list(out.glob("attempts/*/heartbeat"))
    if when == "frozen":
        assert run(*words) == 0
        assert "not there yet" not in (out / "table.md").read_text()


def test_what_fails_for_one_source_leaves_the_others_their_rows(tmp_path, sets):
    class Fails(Unit):
        def score(self, data, device):
            raise SceneError("this one cannot be scored.")

    config = BenchConfig(sets=sets, out=tmp_path, seeds=1, c_values=2, bootstrap=10, pixels=100, only=["chips"])
    (label_set,), _ = find_sets(sets, ["chips"])
    sources = baseline_sources()
    units = [Fails(config, label_set, sources[0]), Unit(config, label_set, sources[2])]
    remarks: list[str] = []
    _score_all(units, remarks)
    assert remarks == ["image statistics is not scored on chips: this one cannot be scored."]
    assert not units[1].missing()
