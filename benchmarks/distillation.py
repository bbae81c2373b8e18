"""Does an encoder learn from a teacher what pixels do not teach it? Frozen features on real sets, few and all labels.

``python -m benchmarks.distillation RUNS --sets SETS --teacher GALILEO --data DATA`` reads students that
``python -m benchmarks.distillation_students`` trained (``RUNS/both-0`` and so on), and appends one JSON line a set, row
and number of labels to ``RUNS/distillation.jsonl``; what is there already is not done again. Chips are scored by their
mean token, scenes by their tokens of 60 m (the majority class), in five folds of blocks; hls by place. Every row of a
set is read by the same ridge classifier, whose strength is chosen by leave-one-out on training rows alone; a forest
reads statistics or samples. Three seeds of students, folds, draws of labels, random weights, filters and trees.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.finetune.baselines.features import chip_statistics
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import load_encoder
from bandloom.model.statistics import Statistics
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet
from benchmarks import public_encoders as chips_table
from benchmarks.distillation_hls import read_hls
from benchmarks.real_label_shares import tokens_of
from benchmarks.token_baselines import random_conv_tokens

SEEDS, FOLDS = (0, 1, 2), 5
SCENES = ("flood", "433D", "282D")
STUDENTS = ("both", "tokens", "full", "pixels", "words", "pixels_stem", "words_stem", "both_stem")
FEWEST = 5  # rows of a class, or it is left out
BATCH = 32


@dataclass(frozen=True)
class Ground:
    """Labelled chips: ``{gsd_m: (N, C, h, w)}``, classes ``(N, T)`` or ``(N, 1)``, and the block of each ``(N,)``."""

    groups: dict[int, torch.Tensor]
    classes: np.ndarray
    blocks: np.ndarray
    sensor: Sensor
    statistics: Statistics

    @property
    def labels(self) -> np.ndarray:
        """Classes of chips ``(N,)``."""
        return self.classes[:, 0]

    @property
    def of_chips(self) -> bool:
        """Whether a class is that of a chip, else of a token."""
        return self.classes.shape[1] == 1


def read_ground(name: str, sets: Path, data: Path) -> Ground:
    """Return a set's chips or tokens."""
    if name == "hls":
        return Ground(*read_hls(data / "hls_landcover_water"))
    if name in SCENES:
        shards = ShardSet(sets / f"shards-{name}")
        groups, classes, sensor = tokens_of(shards)
        return Ground(groups, classes, np.arange(len(classes)), sensor, Statistics.from_mapping(shards.statistics))
    chips = chips_table.read_chips(sets / f"shards-{name}")
    return Ground(chips.groups, chips.labels[:, None], chips.blocks, chips.sensor, chips.statistics)


@torch.no_grad()
def encoded(encoder: AnyEncoder, ground: Ground) -> np.ndarray:
    """Return features of every row, ``(N * T, D)`` or, of chips, their mean token ``(N, D)``."""
    parts = []
    for start in range(0, len(ground.classes), BATCH):
        batch = {gsd: group[start : start + BATCH] for gsd, group in ground.groups.items()}
        tokens = encoder.eval().forward_features(batch, ground.sensor).float()
        parts.append(tokens.mean(1) if ground.of_chips else tokens.flatten(0, 1))
    return torch.cat(parts).numpy()


def samples_of(ground: Ground, encoder: AnyEncoder) -> np.ndarray:
    """Return the normalised samples of every token, or the statistics of a chip, ``(rows, F)``."""
    if ground.of_chips:
        return chips_table.each_chip(ground, lambda groups: chip_statistics(groups, ground.sensor))
    return encoder.samples(ground.groups, ground.sensor)[0].flatten(0, 1).numpy()


def random_filters(ground: Ground, seed: int) -> np.ndarray:
    """Return random 3 x 3 filters' responses: 512 filters' mean over a chip, or 128's over a token and 3 x 3 tokens."""
    if ground.of_chips:
        return chips_table.random_filters(ground, seed)
    pixels = {gsd: group.numpy().astype(np.uint16) for gsd, group in ground.groups.items()}
    slots = [slot for group in ground.sensor.groups for slot in group.slots]
    mean, std = (np.array([v[s] for s in slots]) for v in (ground.statistics.mean, ground.statistics.std))
    return np.nan_to_num(random_conv_tokens(pixels, ground.sensor, mean, std, 6))


Fitted = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def scores(ground: Ground, predictor: Fitted, count: int | None, seed: int) -> dict[str, float]:
    """Return accuracy and macro-F1 over the five folds together, ``count`` labels a class of the training ground."""
    labels = ground.classes.ravel()
    names = np.unique(ground.blocks)
    dealt = np.random.default_rng([seed, 5]).permutation(len(names)) % FOLDS
    fold = np.repeat(dealt[np.searchsorted(names, ground.blocks)], ground.classes.shape[1])
    kinds, counts = np.unique(labels[labels != IGNORE_INDEX], return_counts=True)
    known = np.isin(labels, kinds[counts >= FEWEST])
    predicted = np.full_like(labels, -1)
    for index in range(FOLDS):
        train, test = np.flatnonzero(known & (fold != index)), np.flatnonzero(known & (fold == index))
        if count is not None:
            rng = np.random.default_rng([seed, 7, index, count])
            own = [rng.permutation(train[labels[train] == kind])[:count] for kind in kinds]
            train = np.sort(np.concatenate(own))
        predicted[test] = predictor(train, test, seed)
    told, true = predicted[known], labels[known]
    return {"accuracy": float((told == true).mean()), "macro_f1": float(f1_score(true, told, average="macro"))}


def core_ms(encoder: AnyEncoder, ground: Ground) -> float:
    """Return milliseconds of one core's own time that a chip takes, in batches of 8: the least of five."""
    batch = {gsd: group[:8] for gsd, group in ground.groups.items()}
    found = []
    with torch.no_grad():
        for _ in range(6):
            began = time.process_time()
            encoder.eval().forward_features(batch, ground.sensor)
            found.append(time.process_time() - began)
    return 1000 * min(found[1:]) / len(batch[next(iter(batch))])


Row = Callable[[], tuple[Fitted, float]]


def rows_of(name: str, ground: Ground, seed: int, runs: Path, teacher: Path) -> dict[str, Row]:
    """Return how the features of each row are made, and what a chip of them takes."""
    folders = {student: runs / f"{student}-{seed}" for student in STUDENTS}
    made: dict[str, Callable[[], AnyEncoder]] = {
        student: partial(load_encoder, folder / "checkpoint")
        for student, folder in folders.items()
        if (folder / "DONE").exists()
    }
    first = next(iter(made.values()), None)
    for row, of_stem in (("random weights", False), ("random weights, stem", True)):
        like = _trained_before(runs, of_stem)
        first = first or like
        if like:
            made[row] = partial(_untrained, like, seed)
    if first is None:
        return {}
    if name != "hls":  # the teacher refuses surface reflectance
        made["teacher"] = partial(load_encoder, teacher)
        made["teacher's random weights"] = partial(_untrained, made["teacher"], seed)
    rows: dict[str, Row] = {row: partial(_frozen, make, ground) for row, make in made.items()}
    rows["512 random conv features"] = partial(_filtered, ground, seed)
    rows["RandomForest"] = partial(_forest, first, ground)
    return rows


def _trained_before(runs: Path, of_stem: bool) -> Callable[[], AnyEncoder] | None:
    """Return how any student of a kind is read, of whichever seed: its shape and statistics are those of all."""
    for seed in SEEDS:
        for student in STUDENTS:
            if student.endswith("_stem") == of_stem and (runs / f"{student}-{seed}" / "DONE").exists():
                return partial(load_encoder, runs / f"{student}-{seed}" / "checkpoint")
    return None


def _untrained(make: Callable[[], AnyEncoder], seed: int) -> AnyEncoder:
    torch.manual_seed(seed)
    return make().untrained()


def _frozen(make: Callable[[], AnyEncoder], ground: Ground) -> tuple[Fitted, float]:
    encoder = make()
    return chips_table.linear(encoded(encoder, ground), ground.classes.ravel()), core_ms(encoder, ground)


def _filtered(ground: Ground, seed: int) -> tuple[Fitted, float]:
    return chips_table.linear(random_filters(ground, seed), ground.classes.ravel()), float("nan")


def _forest(make: Callable[[], AnyEncoder], ground: Ground) -> tuple[Fitted, float]:
    return chips_table.forest(samples_of(ground, make()), ground.classes.ravel()), float("nan")


def main() -> None:
    """Append what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--names", default="chips16,chips32,flood,433D,282D,hls")
    parser.add_argument("--rows", default="", help="names with semicolons; empty: all")
    parser.add_argument("--counts", default="1,5,20,all", help="labels a class, with commas")
    options = parser.parse_args()
    counts = [None if word == "all" else int(word) for word in options.counts.split(",")]
    out: Path = options.runs / "distillation.jsonl"
    done = {tuple(json.loads(line)["key"]) for line in out.read_text().splitlines()} if out.exists() else set()
    torch.set_num_threads(1)
    for name in options.names.split(","):
        ground = read_ground(name, options.sets, options.data)
        frozen_once: tuple[Fitted, float] | None = None  # the teacher is the same for every seed
        for seed in SEEDS:
            for row, make in rows_of(name, ground, seed, options.runs, options.teacher).items():
                missing = [count for count in counts if (name, row, count, seed) not in done]
                if missing and (not options.rows or row in options.rows.split(";")):
                    predictor, ms = frozen_once if row == "teacher" and frozen_once else make()
                    frozen_once = (predictor, ms) if row == "teacher" else frozen_once
                    for count in missing:
                        record = {"key": [name, row, count, seed], **scores(ground, predictor, count, seed), "ms": ms}
                        with out.open("a") as file:
                            file.write(json.dumps(record) + "\n")
                        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
