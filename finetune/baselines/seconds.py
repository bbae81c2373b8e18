"""About how long baselines will take: each is fitted to a few made-up labels on the features of one sample."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bandloom.finetune.baselines.classic import SCORE_PIXELS
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.run_state.pulse import pulse

ROWS = 400  # of the trial


def seconds_of(names: Sequence[str], data: TaskData, known: Mapping[str, Any], seed: int) -> float:
    """Return about how many seconds the named baselines will take; one that is more than a classifier counts nothing.

    Args:
        names: some of ``known``.
        data: labelled samples under a split.
        known: a task's baselines by name.
        seed: of the classifiers and of the labels that are made up.
    """
    total, tables = 0.0, {}
    sample = next(iter(data.some(TRAIN, 1).samples(TRAIN)), None)
    if sample is None:
        return total
    for name in names:
        pulse("how long baselines will take")
        baseline = known[name]
        features = getattr(baseline, "features", None)
        if features is None:
            continue
        if features not in tables:
            began = time.monotonic()
            values = features(sample, data)
            samples = len(data.indices_of(TRAIN)) + len(data.indices_of(TEST))
            total += (time.monotonic() - began) * samples
            tables[features] = np.resize(values.reshape(len(values), -1).T, (ROWS, len(values)))
        fit_s, predict_s = _trial(baseline.make(seed), tables[features], data, seed)
        fitted, scored = min(baseline.most, data.labels_in(TRAIN)), min(SCORE_PIXELS, data.labels_in(TEST))
        total += (fit_s * fitted + predict_s * scored) / ROWS
    return total


def _trial(classifier: Any, rows: np.ndarray, data: TaskData, seed: int) -> tuple[float, float]:
    """Return the seconds to fit :data:`ROWS` rows and to predict them."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=len(rows)) if data.target is not None else np.arange(len(rows)) % len(data.label_set)
    began = time.monotonic()
    classifier.fit(rows, rng.permutation(labels))
    fitted = time.monotonic()
    classifier.predict(rows)
    return fitted - began, time.monotonic() - fitted
