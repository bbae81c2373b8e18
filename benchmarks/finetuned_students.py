"""Students, their teacher and random weights, each fine-tuned by today's recipe on few and all labels of small chips.

``python -m benchmarks.finetuned_students OUT --runs RUNS --sets SETS --data DATA --teacher GALILEO`` fine-tunes all
weights of what ``benchmarks.distillation_students`` left in RUNS as ``bandloom finetune`` does (100 steps of 16, one
config for every row but for where it starts) on blocks of its own for each of three seeds, and appends one JSON line a
set, row, number of labels a class and seed to ``OUT/finetuned.jsonl``; what is there already is not done again. Where
labels are few, training and validation chips are cut down to that number a class, test chips stay, and every row and
baseline sees the same. ``--write`` alone writes what is there to ``benchmarks/results/finetuned_students.json``.
"""

import argparse
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.command_line.console import logger
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import ROLES, TEST
from bandloom.finetune.experiment import open_data
from bandloom.finetune.train import finetune
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.run_state.markers import EXIT_DONE
from bandloom.run_state.run_folder import RunFolder
from bandloom.scores import METRICS, MODEL_ROW, read_scores
from bandloom.sensors import get_sensor
from benchmarks.harness import Figure, write
from benchmarks.real_inputs import CHIP_SIDE_PX, SETS, bandloom

SEEDS = (0, 1, 2)
BLOCKS = {"chips16": (0, 1, 2), "chips32": (0, 1, 3)}  # seeds of the blocks: 2 leaves chips32 one class to train on
STUDENTS = ("both", "pixels", "both_stem", "words_stem", "pixels_stem", "tokens", "words")
RANDOM, RANDOM_STEM = "random weights", "random weights, stem"
TEACHER, RANDOM_TEACHER = "teacher", "teacher's random weights"
ROWS = (RANDOM, "both", "pixels", TEACHER, "both_stem", RANDOM_STEM, RANDOM_TEACHER, *STUDENTS[3:])
BASELINES = ["majority", "stats_logistic", "stats_rf", "random_conv"]  # scored once, beside random weights
STEPS, BATCH = 100, 16
SAID = re.compile(r"tokens (?P<weight>[\d.]+),|step (?P<kept>\d+) of \d+ is kept")


class Heard(logging.Handler):
    """What a fine-tuning says of itself: the weight of tokens in its first head, and the step that was kept."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep numbers of known sentences."""
        if match := SAID.search(record.getMessage()):
            self.found |= {name: float(value) for name, value in match.groupdict().items() if value}


def main() -> None:
    """Append what is missing and can be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--names", default="chips16,chips32")
    parser.add_argument("--counts", default="all,5", help="labels a class, with commas")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--rows", default=";".join(ROWS), help="names with semicolons")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write:
        write("finetuned_students", figures(options.out / "finetuned.jsonl"))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    logger.setLevel(logging.INFO)
    for name, count, seed, row in wanted(options):
        start = starts_from(options, row, seed)
        if start is not None:
            for record in trained(options, name, count, seed, row, start):
                with (options.out / "finetuned.jsonl").open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(json.dumps(record), flush=True)


def figures(path: Path) -> list[Figure]:
    """Return every trained start beside the best of random weights and baselines, over the seeds that all have."""
    scores: dict[tuple[str, int | None], dict[str, dict[int, float]]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        name, row, count, seed = record["key"]
        scores.setdefault((name, count), {}).setdefault(row, {})[seed] = record["macro_f1"]
    made = []
    for (name, count), rows in scores.items():
        rivals = [row for row in rows if row == RANDOM or row in BASELINES]
        for row in (row for row in rows if row not in rivals):
            seeds = sorted(set(rows[row]).intersection(*(rows[rival] for rival in rivals)))
            means = {one: float(np.mean([rows[one][seed] for seed in seeds])) for one in (row, *rivals)}
            best = max(rivals, key=lambda rival, means=means: means[rival])
            told = ", ".join(f"{rival} {means[rival]:.3f}" for rival in rivals if rival != best)
            labels = "all labels" if count is None else f"{count} labels a class"
            note = f"{labels}, seeds {seeds}; {told}"
            made.append(Figure(f"finetuned {name} {row}", means[row], "macro-F1", best, means[best], "", note))
    return made


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, int | None, int, str]]:
    """Yield set, labels a class, seed and row of what is not there yet."""
    path: Path = options.out / "finetuned.jsonl"
    done = {tuple(json.loads(line)["key"]) for line in path.read_text().splitlines()} if path.exists() else set()
    for word in options.counts.split(","):
        count = None if word == "all" else int(word)
        for row in options.rows.split(";"):
            for name in options.names.split(","):
                for seed in options.seeds:
                    if (name, row, count, seed) not in done:
                        yield name, count, seed, row


def starts_from(options: argparse.Namespace, row: str, seed: int) -> dict[str, Any] | None:
    """Return the keys of a config that say where a row starts, or None where its student is not trained yet."""
    if row == RANDOM:
        return {"size": "demo"}
    if row == TEACHER:
        return {"checkpoint": str(options.teacher)}
    like = {RANDOM_STEM: "words_stem", RANDOM_TEACHER: None}.get(row, row)
    source = options.runs / f"{like}-{seed}" if like else options.teacher
    if like and not (source / "DONE").exists():
        return None
    return {"checkpoint": str(source if like == row else untrained(options, row, source, seed))}


def untrained(options: argparse.Namespace, row: str, source: Path, seed: int) -> Path:
    """Return a checkpoint of the same network with weights drawn from the seed."""
    folder: Path = options.out / "untrained" / f"{slug(row)}-{seed}"
    if not folder.exists():
        encoder = load_encoder(source / "checkpoint" if (source / "checkpoint").exists() else source)
        torch.manual_seed(seed)
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_encoder(folder, encoder.untrained(), [get_sensor("sentinel2-l1c")], {"weights": f"random, seed {seed}"})
    return folder


def trained(
    options: argparse.Namespace, name: str, count: int | None, seed: int, row: str, start: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Fine-tune one row; yields its record, and those of the baselines where they were asked for.

    Raises:
        SystemExit: it was asked to stop; typed again, it goes on.
    """
    config = config_of(options, name, seed)
    if count is not None:
        config = few_labels(options, config, name, count, seed)
    config = config.with_changes(**start, baselines=BASELINES if row == RANDOM else [])
    run, heard = options.out / f"{name}-{count or 'all'}-{slug(row)}-{seed}", Heard()
    logger.addHandler(heard)
    try:
        if finetune(config, RunFolder(run)) != EXIT_DONE:
            raise SystemExit(f"{run} was asked to stop; the same command goes on")
    finally:
        logger.removeHandler(heard)
    told = read_scores(run / METRICS)
    for found in told.rows:
        scores = {"accuracy": found.scores["overall"], "macro_f1": found.scores["macro_f1"]}
        mine = found.name == MODEL_ROW
        yield {
            "key": [name, row if mine else found.name, count, seed],
            **scores,
            "test_chips": sum(kind.support for kind in told.rows[0].classes),
            "interval": found.interval_95.get("macro_f1"),
            "split": told.split["hash"],
            **(heard.found if mine else {}),
        }
    shutil.rmtree(run / "snapshots", ignore_errors=True)


def config_of(options: argparse.Namespace, name: str, seed: int) -> FinetuneConfig:
    """Return what all rows of a set and seed share, on all labels."""
    engine = {"lr": 1e-3, "warmup_steps": 20, "betas": [0.9, 0.999]}
    held = {
        "shards": options.sets / f"shards-{name}",
        "task": "classify",
        "compare_random": False,
        "band_drops": False,
        "seeds": 1,
        "split": {"kind": "block", "seed": BLOCKS[name][SEEDS.index(seed)]},
        "trainer": {"steps": STEPS, "batch_size": BATCH, "seed": seed, "workers": 0, "engine": engine},
    }
    return FinetuneConfig.model_validate(held)


def few_labels(options: argparse.Namespace, config: FinetuneConfig, name: str, count: int, seed: int) -> FinetuneConfig:
    """Return the config on shards that hold at most ``count`` training and validation chips a class, all test chips."""
    split = open_data(config).split.describe()
    shards: Path = options.out / f"shards-{name}-{count}-{seed}"
    if not (shards / "manifest.json").exists():
        folder = options.out / f"chips-{name}-{count}-{seed}"
        copy_few(options.data / SETS[name], folder, config, count, seed)
        side = str(CHIP_SIDE_PX[name])
        bandloom("shards", "build", folder, "--class-folders", "--side", side, "--out", shards)
    own = config.split.with_changes(block_m=split["block_m"])  # the very blocks of all labels
    return config.with_changes(shards=shards, split=own)


def copy_few(source: Path, folder: Path, config: FinetuneConfig, count: int, seed: int) -> None:
    """Copy the chips that are kept, each class in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    data, rng = open_data(config), np.random.default_rng([seed, 7])
    files = {path.stem: path for path in source.rglob("*.tif")}
    for role in range(len(ROLES)):
        own = [files[re.sub(r"_r\d+_c\d+$", "", data.shards.entries[i].key)] for i in data.indices_of(role)]
        for kind in sorted({path.parent.name for path in own}):
            paths = sorted(path for path in own if path.parent.name == kind)
            kept = paths if role == TEST else [paths[i] for i in rng.permutation(len(paths))[:count]]
            for path in kept:
                (folder / kind).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / kind / path.name)


def slug(row: str) -> str:
    """Return a row's name as part of a folder's."""
    return re.sub(r"[^a-z0-9]+", "-", row.lower())


if __name__ == "__main__":
    main()
