"""A public encoder on small real chips, frozen and fine-tuned, beside baselines: the table of docs/results.md.

Five folds of 64-pixel blocks, so that neighbouring chips are never in training and test; three seeds of folds, random
weights, random filters and orders. Linear rows are a ridge classifier whose strength is chosen by leave-one-out on
training chips alone, the same for all. Needs shards of chips: ``python -m benchmarks.public_encoders SHARDS ENCODER``.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bandloom.classes.label_set import LabelSet
from bandloom.finetune.baselines.features import chip_statistics
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import load_encoder
from bandloom.model.statistics import Statistics
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet

FOLDS, SEEDS, BLOCK_M = 5, (0, 1, 2), 640
FILTERS = 512
FEWEST = 5  # chips of a class, or it is left out: it could be in no four folds
STEPS, BATCH, LR = 60, 32, 3e-4
DRAWS = 1000  # of blocks, behind the intervals
Predict = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # training and test rows, seed


@dataclass(frozen=True)
class Chips:
    """Chips of one size: native groups ``{gsd_m: (N, C, h, w)}``, classes and blocks ``(N,)``."""

    groups: dict[int, torch.Tensor]
    labels: np.ndarray
    blocks: np.ndarray
    sensor: Sensor
    label_set: LabelSet
    statistics: Statistics


def read_chips(path: Path) -> Chips:
    """Read every labelled chip of a shard set whose class has at least :data:`FEWEST`."""
    shards = ShardSet(path)
    samples = [shards.read(index) for index in range(len(shards))]
    labels = np.array([sample.class_index for sample in samples])
    places = [(e.epsg, e.x_m // BLOCK_M, e.y_m // BLOCK_M) for e in shards.entries]
    _, blocks = np.unique(np.array(places), axis=0, return_inverse=True)
    kept = np.flatnonzero(np.bincount(labels)[labels] >= FEWEST)
    native = {g: np.stack([samples[i].groups[g] for i in kept]) for g in samples[0].groups}
    groups = {gsd: torch.from_numpy(group.astype(np.int32)) for gsd, group in native.items()}
    sensor, label_set = next(iter(shards.sensors.values())), shards.label_set
    if label_set is None:
        raise SystemExit(f"{path} has no labels")
    statistics = Statistics.from_mapping(shards.statistics)
    return Chips(groups, labels[kept], blocks.ravel()[kept], sensor, label_set, statistics)


def folds_of(chips: Chips, seed: int) -> np.ndarray:
    """Deal blocks to folds, ``(N,)``."""
    names = np.unique(chips.blocks)
    dealt = np.random.default_rng([seed, 5]).permutation(len(names)) % FOLDS
    return dealt[np.searchsorted(names, chips.blocks)]


@torch.no_grad()
def tokens(encoder: AnyEncoder, chips: Chips) -> np.ndarray:
    """Return the mean token of every chip, ``(N, D)``."""
    parts = []
    for start in range(0, len(chips.labels), BATCH):
        batch = {gsd: group[start : start + BATCH] for gsd, group in chips.groups.items()}
        parts.append(encoder.eval().forward_features(batch, chips.sensor).mean(1).numpy())
    return np.concatenate(parts)


class LabelledChips(Protocol):
    """Chips with a class each, of this table or another."""

    @property
    def groups(self) -> dict[int, torch.Tensor]: ...
    @property
    def labels(self) -> np.ndarray: ...
    @property
    def sensor(self) -> Sensor: ...
    @property
    def statistics(self) -> Statistics: ...


def each_chip(chips: LabelledChips, features: Callable[[dict[int, np.ndarray]], np.ndarray]) -> np.ndarray:
    """Return features of every chip's native groups, ``(N, F)``, 0 where a band is absent."""
    native = {gsd: group.numpy().astype(np.uint16) for gsd, group in chips.groups.items()}
    rows = [features({gsd: group[i] for gsd, group in native.items()}) for i in range(len(chips.labels))]
    return np.nan_to_num(np.stack(rows)).astype(np.float32)


def random_filters(chips: LabelledChips, seed: int) -> np.ndarray:
    """Return mean responses of 512 random 3 x 3 filters, rectified both ways, ``(N, 1024)``."""
    rng = np.random.default_rng([seed, 17])
    slots = [slot for group in chips.sensor.groups for slot in group.slots]
    statistics = chips.statistics
    mean, std = (np.array([values[s] for s in slots])[:, None, None] for values in (statistics.mean, statistics.std))
    drawn = rng.standard_normal((FILTERS, len(slots), 3, 3)) / np.sqrt(9 * len(slots))
    kernel = torch.from_numpy(drawn.astype(np.float32))
    shift = torch.from_numpy((0.5 * rng.standard_normal(FILTERS)).astype(np.float32))

    def features(groups: dict[int, np.ndarray]) -> np.ndarray:
        bands = pixel_bands(groups, chips.sensor)
        there = np.isfinite(bands[0])
        rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
        bands = bands[:, : rows[-1] + 1, : columns[-1] + 1]
        pixels = torch.from_numpy(np.nan_to_num((bands - mean) / std).astype(np.float32))[None]
        padded = torch.nn.functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
        response = torch.nn.functional.conv2d(padded, kernel, shift)[0]
        return torch.cat([response.relu(), (-response).relu()]).mean((1, 2)).numpy()

    return each_chip(chips, features)


def linear(features: np.ndarray, labels: np.ndarray) -> Predict:
    """Return the tuned ridge classifier on features."""

    def predict(train: np.ndarray, test: np.ndarray, _: int) -> np.ndarray:
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(-2, 5, 15)))
        return model.fit(features[train], labels[train]).predict(features[test])

    return predict


def forest(features: np.ndarray, labels: np.ndarray) -> Predict:
    """Return a random forest of 500 trees on features."""

    def predict(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        model = RandomForestClassifier(500, random_state=seed)
        return model.fit(features[train], labels[train]).predict(features[test])

    return predict


def finetuned(folder: Path, chips: Chips, *, random: bool) -> Predict:
    """Return the whole encoder trained with a linear head for :data:`STEPS` steps, the head ten times as fast."""

    def predict(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        encoder = load_encoder(folder)
        encoder.learn_statistics(chips.statistics)
        encoder = encoder.untrained() if random else encoder
        side = chips.groups[10].shape[-1]
        model = TaskModel(encoder, chips.sensor, chips.label_set, "classify", side)
        _fit(model, chips, train, seed)
        with torch.no_grad():
            groups = {gsd: group[torch.from_numpy(test)] for gsd, group in chips.groups.items()}
            return model.eval()(groups).argmax(1).numpy()

    return predict


def _fit(model: TaskModel, chips: Chips, train: np.ndarray, seed: int) -> None:
    """Train on chips that are turned and mirrored, with a cosine to zero."""
    rng, target = np.random.default_rng([seed, 3]), torch.from_numpy(chips.labels)
    slow = torch.optim.AdamW(
        [
            {"params": model.encoder.parameters(), "lr": LR},
            {"params": model.head.parameters(), "lr": 10 * LR},
        ],
        weight_decay=0.05,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(slow, STEPS)
    model.train()
    for _ in range(STEPS):
        rows = torch.from_numpy(rng.choice(train, min(BATCH, len(train)), replace=False))
        turn, mirror = int(rng.integers(4)), bool(rng.integers(2))
        batch = {gsd: torch.rot90(group[rows], turn, (-2, -1)) for gsd, group in chips.groups.items()}
        batch = {gsd: group.flip(-1) if mirror else group for gsd, group in batch.items()}
        loss = torch.nn.functional.cross_entropy(model(batch), target[rows], label_smoothing=0.1)
        slow.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        slow.step()
        schedule.step()


def score(chips: Chips, make: Callable[[int], Predict]) -> dict[str, object]:
    """Return accuracy and macro-F1 over the five folds together, by seed, with an interval by blocks."""
    found = []
    for seed in SEEDS:
        predict, dealt = make(seed), folds_of(chips, seed)
        predicted = np.empty_like(chips.labels)
        for fold in range(FOLDS):
            test = np.flatnonzero(dealt == fold)
            predicted[test] = predict(np.flatnonzero(dealt != fold), test, seed)
        found.append(predicted)
    accuracy = [float((fold == chips.labels).mean()) for fold in found]
    macro = [float(f1_score(chips.labels, fold, average="macro")) for fold in found]
    return {"accuracy": accuracy, "macro_f1": macro, "interval": interval(chips, np.stack(found))}


def interval(chips: Chips, predicted: np.ndarray) -> list[float]:
    """Return the 95 % interval of the mean macro-F1 over seeds, from draws of blocks with replacement."""
    rng, names = np.random.default_rng(0), np.unique(chips.blocks)
    rows_of = {name: np.flatnonzero(chips.blocks == name) for name in names}
    drawn = []
    for _ in range(DRAWS):
        rows = np.concatenate([rows_of[name] for name in rng.choice(names, len(names))])
        labels = chips.labels[rows]
        drawn.append(
            np.mean([f1_score(labels, answer[rows], average="macro", zero_division=0) for answer in predicted])
        )
    return [float(value) for value in np.percentile(drawn, [2.5, 97.5])]


def main() -> None:
    """Print one JSON line a row as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--rows", default="", help="names with semicolons; empty: all")
    options = parser.parse_args()
    chips = read_chips(options.shards)
    encoder = load_encoder(options.encoder)
    frozen = tokens(encoder, chips)

    def untrained(seed: int) -> Predict:
        torch.manual_seed(seed)
        return linear(tokens(encoder.untrained(), chips), chips.labels)

    statistics = each_chip(chips, lambda groups: chip_statistics(groups, chips.sensor))
    rows: dict[str, Callable[[int], Predict]] = {
        "frozen": lambda _: linear(frozen, chips.labels),
        "frozen from random weights": untrained,
        "random convolutional features": lambda seed: linear(random_filters(chips, seed), chips.labels),
        "image statistics": lambda _: linear(statistics, chips.labels),
        "RandomForest on image statistics": lambda _: forest(statistics, chips.labels),
        "fine-tuned": lambda _: finetuned(options.encoder, chips, random=False),
        "fine-tuned from random weights": lambda _: finetuned(options.encoder, chips, random=True),
    }
    for name, make in rows.items():
        if not options.rows or name in options.rows.split(";"):
            print(json.dumps({"set": options.shards.name, "row": name, **score(chips, make)}), flush=True)


if __name__ == "__main__":
    main()
