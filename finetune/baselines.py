"""The floors that a score stands beside: majority, and classic classifiers on pixels and on chip statistics.

Many published models are two or three points above such floors. All of them see the same split, the same labels and all
bands; what was subsampled for speed is stated in the row.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bandloom.console import track
from bandloom.errors import ConfigError, nearest
from bandloom.label_set import IGNORE_INDEX
from bandloom.sensors import Sensor
from finetune.classifiers import Classifier, forest, logistic, majority, neighbours, rbf_svm
from finetune.features import chip_statistics, context_bands, pixel_bands
from finetune.metrics import block_confusions
from finetune.splits import TEST, TRAIN
from finetune.task_data import Labelled, TaskData

FIT_PIXELS, SCORE_PIXELS = 20_000, 50_000
MAJORITY = "majority"


@dataclass(frozen=True)
class Row:
    """One line of a score table: what was scored, its confusion matrix by block, and on how much it was fitted."""

    name: str
    confusions: dict[int, np.ndarray]
    fitted_on: int
    scored_on: int
    seconds: float

    @property
    def confusion(self) -> np.ndarray:
        """The sum over blocks, ``(K, K)``."""
        return np.sum(list(self.confusions.values()), axis=0)


@dataclass(frozen=True)
class _Table:
    """Rows of features ``(N, F)`` with their labels and blocks ``(N,)``."""

    features: np.ndarray
    labels: np.ndarray
    blocks: np.ndarray


Features = Callable[[Labelled, Sensor], np.ndarray]


def run_baselines(names: Sequence[str], data: TaskData, seed: int = 0) -> list[Row]:
    """Fit and score the named baselines on the split's own training and test labels.

    Args:
        names: see :data:`BASELINES`; ``majority`` fits every task.
        data: labelled samples under a split.
        seed: of the classifiers and of the subsampling.

    Raises:
        ConfigError: a name is unknown or made for another task.
    """
    check_names(names, data.task)
    rows, tables = [], {}
    for name in track(list(names), "baselines"):
        features, make = BASELINES[data.task][name]
        if features not in tables:
            tables[features] = (
                _collect(data, TRAIN, features, FIT_PIXELS, seed),
                _collect(data, TEST, features, SCORE_PIXELS, seed),
            )
        rows.append(_score(name, make(seed), tables[features], len(data.label_set)))
    return rows


def check_names(names: Sequence[str], task: str) -> None:
    """Check that every baseline exists for the task.

    Raises:
        ConfigError: naming the nearest that does.
    """
    for name in names:
        if name not in BASELINES[task]:
            known = ", ".join(BASELINES[task])
            raise ConfigError(f"there is no baseline {name!r} for {task}; use {known}.{nearest(name, BASELINES[task])}")


def _score(name: str, classifier: Classifier, tables: tuple[_Table, _Table], classes: int) -> Row:
    train, test = tables
    start = time.monotonic()
    classifier.fit(train.features, train.labels)
    predicted = classifier.predict(test.features)
    confusions = block_confusions(test.labels, predicted, test.blocks, classes)
    return Row(name, confusions, len(train.labels), len(test.labels), time.monotonic() - start)


def _collect(data: TaskData, role: int, of: Features, most: int, seed: int) -> _Table:
    """Gather at most about ``most`` labels of a role, evenly from all samples."""
    indices = data.indices_of(role)
    total = int(data.counts.sum((0, 2))[role])
    share = min(1.0, most / max(total, 1))
    rng = np.random.default_rng(seed)
    parts = [_draw(found, of(found, data.sensor), share, rng) for found in _found(data, indices, role)]
    features, labels, blocks = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Table(features, labels, blocks)


def _found(data: TaskData, indices: np.ndarray, role: int) -> Iterator[Labelled]:
    for index in indices.tolist():
        found = data.labelled(index, role)
        if found is not None:
            yield found


def _draw(
    found: Labelled, values: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if found.label.ndim == 0:
        return values[None], found.label[None], found.blocks[None]
    known = found.label != IGNORE_INDEX
    if share < 1:
        known &= rng.random(known.shape) < share
    return values[:, known].T, found.label[known], found.blocks[known]


def _pixel(found: Labelled, sensor: Sensor) -> np.ndarray:
    return pixel_bands(found.groups, sensor)


def _context(found: Labelled, sensor: Sensor) -> np.ndarray:
    return context_bands(pixel_bands(found.groups, sensor))


def _statistics(found: Labelled, sensor: Sensor) -> np.ndarray:
    return chip_statistics(found.groups, sensor)


BASELINES: dict[str, dict[str, tuple[Features, Callable[[int], Classifier]]]] = {
    "segment": {
        MAJORITY: (_pixel, majority),
        "pixel_logistic": (_pixel, logistic),
        "pixel_rf": (_pixel, forest),
        "context_rf": (_context, forest),
    },
    "classify": {
        MAJORITY: (_statistics, majority),
        "stats_knn": (_statistics, neighbours),
        "stats_logistic": (_statistics, logistic),
        "stats_rf": (_statistics, forest),
        "stats_svm": (_statistics, rbf_svm),
    },
}
