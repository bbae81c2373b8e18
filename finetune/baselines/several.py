"""Baselines of several classes a chip: base rates, and a classifier a class on image statistics."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bandloom.command_line.console import track
from bandloom.finetune.baselines.classifiers import forest, logistic
from bandloom.finetune.baselines.features import chip_statistics
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, TRAIN, VAL
from bandloom.finetune.scores.multilabel import MultilabelRow, tune_thresholds
from bandloom.finetune.scores.row import Row
from bandloom.run_state.pieces import kept
from bandloom.run_state.pulse import alive
from bandloom.scores import RowKind

Scored = Callable[[np.ndarray], np.ndarray]  # probabilities (N, K) of features (N, F)


@dataclass(frozen=True)
class SeveralBaseline:
    """How probabilities are fitted from features ``(N, F)``, truth ``(N, K)`` and a seed."""

    fit: Callable[[np.ndarray, np.ndarray, int], Scored]
    kind: RowKind = "classic"


def run_several(names: Sequence[str], data: TaskData, seed: int, known: Mapping[str, Any]) -> list[Row]:
    """Fit and score the named baselines, their thresholds tuned on validation chips as a model's are."""
    if not names:
        return []
    parts = {role: _statistics(data, role) for role in (TRAIN, VAL, TEST)}

    def score(name: str) -> MultilabelRow:
        start = time.monotonic()
        scored = known[name].fit(*parts[TRAIN][:2], seed)
        features, truth, blocks = parts[TEST]
        return MultilabelRow(
            name=name,
            kind=known[name].kind,
            seeds=(seed,),
            truth=truth,
            score=scored(features),
            block_of=blocks,
            thresholds=tune_thresholds(parts[VAL][1], scored(parts[VAL][0])),
            fitted_on=len(parts[TRAIN][1]),
            seconds=time.monotonic() - start,
        )

    def spoken_for(name: str) -> MultilabelRow:
        return alive(partial(score, name), f"fitting {name}")

    made_of = [seed, data.describe()]
    return [kept(f"baseline {name}", made_of, partial(spoken_for, name), MultilabelRow) for name in names]


def _statistics(data: TaskData, role: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    samples = list(track(data.samples(role), "features of baselines", total=len(data.indices_of(role))))
    features = np.nan_to_num(np.stack([chip_statistics(chip.groups, data.sensor) for chip in samples]))
    return features, np.stack([chip.label for chip in samples]), np.array([int(f.blocks) for f in samples], np.uint64)


def base_rates(features: np.ndarray, truth: np.ndarray, seed: int) -> Scored:
    """Say of every chip how common each class was among training chips."""
    return lambda given: np.tile(truth.mean(0), (len(given), 1))


def one_by_one(make: Callable[[int], Any]) -> Callable[[np.ndarray, np.ndarray, int], Scored]:
    """Fit a classifier a class; a class that is always or never there keeps its rate."""

    def fit(features: np.ndarray, truth: np.ndarray, seed: int) -> Scored:
        fitted = [make(seed).fit(features, column) if 0 < column.mean() < 1 else None for column in truth.T]
        rates = truth.mean(0)
        return lambda given: np.stack(
            [
                np.full(len(given), rates[k]) if model is None else model.predict_proba(given)[:, 1]
                for k, model in enumerate(fitted)
            ],
            1,
        )

    return fit


SEVERAL: dict[str, SeveralBaseline] = {
    "base_rates": SeveralBaseline(base_rates, "trivial"),
    "stats_logistic": SeveralBaseline(one_by_one(logistic)),
    "stats_rf": SeveralBaseline(one_by_one(forest)),
}
