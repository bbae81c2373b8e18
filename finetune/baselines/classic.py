"""The floors that a score stands beside: majority, and classic classifiers on pixels and on chip statistics.

Many published models are two or three points above such floors. All of them see the same split, the same labels and all
bands; what was subsampled for speed is stated in the row.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bandloom.console import track
from bandloom.errors import ConfigError, nearest
from bandloom.finetune.baselines.change import pair_bands, post_classification
from bandloom.finetune.baselines.classifiers import (
    Classifier,
    forest,
    linear_svm,
    logistic,
    majority,
    neighbours,
    rbf_svm,
)
from bandloom.finetune.baselines.features import chip_statistics, context_bands, random_conv
from bandloom.finetune.data.change import ChangeData
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.scores.confusion import Row, block_confusions
from bandloom.label_set import IGNORE_INDEX

FIT_PIXELS, SCORE_PIXELS = 20_000, 50_000
FIT_SVM = 5_000  # a kernel SVM's time grows with the square of its rows
MAJORITY = "majority"


@dataclass(frozen=True)
class _Table:
    """Rows of features ``(N, F)`` with their labels and blocks ``(N,)``."""

    features: np.ndarray
    labels: np.ndarray
    blocks: np.ndarray

    def some(self, most: int, seed: int) -> "_Table":
        """Return at most ``most`` rows."""
        if len(self.labels) <= most:
            return self
        picked = np.random.default_rng(seed).choice(len(self.labels), most, replace=False)
        return _Table(self.features[picked], self.labels[picked], self.blocks[picked])


Features = Callable[[Labelled, TaskData], np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """What a classifier sees, how it is made from a seed, and how many labels it is fitted on at most."""

    features: Features
    make: Callable[[int], Classifier]
    most: int = FIT_PIXELS


@dataclass(frozen=True)
class OwnBaseline:
    """A floor that is more than a classifier on a table: scores itself, given its name, the data and a seed."""

    score: Callable[[str, TaskData, int], Row]


def run_baselines(
    names: Sequence[str], data: TaskData, seed: int = 0, known: Mapping[str, "Baseline | OwnBaseline"] | None = None
) -> list[Row]:
    """Fit and score the named baselines on the split's own training and test labels.

    Args:
        names: see :data:`BASELINES`; ``majority`` fits every task.
        data: labelled samples under a split.
        seed: of the classifiers and of the subsampling.
        known: baselines by name; None: those of :data:`BASELINES` for the task.

    Raises:
        ConfigError: a name is unknown or made for another task.
    """
    if known is None:
        check_names(names, data.task)
    rows, tables = [], {}
    for name in track(list(names), "baselines"):
        baseline = (known or BASELINES[data.task])[name]
        if isinstance(baseline, OwnBaseline):
            rows.append(baseline.score(name, data, seed))
            continue
        if baseline.features not in tables:
            tables[baseline.features] = (
                _collect(data, TRAIN, baseline.features, FIT_PIXELS, seed),
                _collect(data, TEST, baseline.features, SCORE_PIXELS, seed),
            )
        train, test = tables[baseline.features]
        rows.append(_score(name, baseline.make(seed), (train.some(baseline.most, seed), test), len(data.label_set)))
    return rows


def check_names(names: Sequence[str], task: str, more: Iterable[str] = ()) -> None:
    """Check that every baseline exists for the task, or is one of ``more``.

    Raises:
        ConfigError: naming the nearest that does.
    """
    known = [*BASELINES.get(task, MULTILABEL), *more]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"there is no baseline {name!r} for {task}; use {', '.join(known)}.{nearest(name, known)}"
            )


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
    parts = [_draw(found, of(found, data), share, rng) for found in _found(data, indices, role)]
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


def _pixel(found: Labelled, data: TaskData) -> np.ndarray:
    return pixel_bands(found.groups, data.sensor)


def _context(found: Labelled, data: TaskData) -> np.ndarray:
    return context_bands(pixel_bands(found.groups, data.sensor))


def _statistics(found: Labelled, data: TaskData) -> np.ndarray:
    return chip_statistics(found.groups, data.sensor)


def _random_conv(found: Labelled, data: TaskData) -> np.ndarray:
    features = random_conv(pixel_bands(found.groups, data.sensor), *band_statistics(data))
    return features if found.label.ndim else features.mean((-2, -1))


def band_statistics(data: TaskData) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of reflectance ``(C,)`` over the shards' training samples, as pixels' bands lie."""
    slots = [slot for group in data.sensor.groups for slot in group.slots]
    mean, std = (np.array([data.shards.statistics[key][slot] for slot in slots]) for key in ("mean", "std"))
    return mean, std


BASELINES: dict[str, dict[str, Baseline | OwnBaseline]] = {
    "segment": {
        MAJORITY: Baseline(_pixel, majority),
        "pixel_logistic": Baseline(_pixel, logistic),
        "pixel_rf": Baseline(_pixel, forest),
        "context_rf": Baseline(_context, forest),
        "pixel_knn": Baseline(_pixel, neighbours),
        "pixel_linear_svm": Baseline(_pixel, linear_svm),
        "pixel_svm": Baseline(_pixel, rbf_svm, FIT_SVM),
        "random_conv": Baseline(_random_conv, logistic),
    },
    "classify": {
        MAJORITY: Baseline(_statistics, majority),
        "stats_knn": Baseline(_statistics, neighbours),
        "stats_logistic": Baseline(_statistics, logistic),
        "stats_rf": Baseline(_statistics, forest),
        "stats_svm": Baseline(_statistics, rbf_svm, FIT_SVM),
        "stats_linear_svm": Baseline(_statistics, linear_svm),
        "random_conv": Baseline(_random_conv, logistic),
    },
    "change": {
        MAJORITY: Baseline(pair_bands, majority),
        "post_classification": OwnBaseline(post_classification),
        "pair_logistic": Baseline(pair_bands, logistic),
        "pair_rf": Baseline(pair_bands, forest),
    },
}
# what every fine-tuning run is scored beside; `bandloom baselines` runs all of them, and networks from scratch
MULTILABEL = ("base_rates", "stats_logistic", "stats_rf")  # of chips with several classes; made in multilabel_results
STANDARD: dict[str, tuple[str, ...]] = {
    "segment": (MAJORITY, "pixel_logistic", "pixel_rf", "context_rf"),
    "classify": (MAJORITY, "stats_knn", "stats_logistic", "stats_rf", "stats_svm"),
    "change": (MAJORITY, "post_classification", "pair_logistic", "pair_rf"),
}


def chosen(names: Sequence[str] | None, data: TaskData, among: Mapping[str, Sequence[str]] = STANDARD) -> list[str]:
    """Return the names given, or those of the task that these labels allow."""
    if names is not None:
        return list(names)
    only_mask = isinstance(data, ChangeData) and data.labels == "mask"
    return [name for name in among[data.task] if not (only_mask and name == "post_classification")]
