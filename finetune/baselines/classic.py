"""Classic baselines: majority class, and scikit-learn's classifiers on pixels and on chip statistics.

Many published models are two or three points above such baselines. All of them see the same split, the same labels and
all bands; what was subsampled for speed is stated in the row. Which of them a task has is said in its own file in
``finetune/tasks/``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bandloom.classes.label_set import known_labels
from bandloom.command_line.console import track
from bandloom.errors import ConfigError, nearest
from bandloom.finetune.baselines.classifiers import Classifier
from bandloom.finetune.baselines.features import chip_statistics, context_bands, random_conv
from bandloom.finetune.baselines.strength import Make, preferred
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.finetune.data.splits import TEST, TRAIN, VAL
from bandloom.finetune.scores.confusion import ConfusionRow, block_confusions
from bandloom.finetune.scores.row import Row
from bandloom.run_state.pieces import kept
from bandloom.run_state.pulse import alive, pulse
from bandloom.scores import RowKind

FIT_PIXELS, SCORE_PIXELS = 20_000, 50_000
FIT_SVM = 5_000  # a kernel SVM's time grows with the square of its rows
MAJORITY = "majority"


@dataclass(frozen=True)
class Table:
    """Rows of features ``(N, F)`` with their labels and blocks ``(N,)``."""

    features: np.ndarray
    labels: np.ndarray
    blocks: np.ndarray

    def some(self, most: int, seed: int) -> "Table":
        """Return at most ``most`` rows."""
        if len(self.labels) <= most:
            return self
        picked = np.random.default_rng(seed).choice(len(self.labels), most, replace=False)
        return Table(self.features[picked], self.labels[picked], self.blocks[picked])


Features = Callable[[Labelled, TaskData], np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """What a classifier sees, how it is made from a seed, and how many labels it is fitted on at most.

    Where there are ``candidates``, validation labels choose one of them; without any, ``make`` is what is fitted.
    """

    features: Features
    make: Make
    most: int = FIT_PIXELS
    kind: RowKind = "classic"
    candidates: tuple[Make, ...] = ()


@dataclass(frozen=True)
class OwnBaseline:
    """A baseline that is more than a classifier on a table.

    Args:
        score: scores itself, given its name, the data and a seed.
        fits: whether it can be scored on these labels.
    """

    score: Callable[[str, TaskData, int], Row]
    fits: Callable[[TaskData], bool] = lambda data: True
    kind: RowKind = "classic"


Known = Mapping[str, Baseline | OwnBaseline]


def run_baselines(names: Sequence[str], data: TaskData, seed: int, known: Known) -> list[Row]:
    """Fit and score the named baselines on the split's own training and test labels.

    Args:
        names: some of ``known``.
        data: labelled samples under a split.
        seed: of the classifiers and of the subsampling.
        known: baselines by name, such as a task's own.

    Raises:
        ConfigError: a name is unknown.
    """
    check_names(names, data.task, known)
    tables: dict[Features, dict[int, Table]] = {}
    tuned = {own.features for own in map(known.get, names) if isinstance(own, Baseline) and own.candidates}

    def score(name: str) -> Row:
        baseline = known[name]
        if isinstance(baseline, OwnBaseline):
            return baseline.score(name, data, seed)
        if baseline.features not in tables:
            validation = baseline.features in tuned
            tables[baseline.features] = tables_of(data, baseline.features, seed, validation=validation)
        return _score(name, baseline, seed, tables[baseline.features], len(data.label_set))

    made_of = [seed, data.describe()]
    return [
        kept(f"baseline {name}", made_of, partial(score, name), *Row.__subclasses__())
        for name in track(list(names), "baselines")
    ]


def check_names(names: Sequence[str], task: str, known: Sequence[str] | Mapping[str, object]) -> None:
    """Check that every baseline exists for the task.

    Raises:
        ConfigError: naming the nearest that does.
    """
    for name in names:
        if name not in known:
            raise ConfigError(
                f"there is no baseline {name!r} for {task}; use {', '.join(known)}.{nearest(name, list(known))}"
            )


def chosen(names: Sequence[str] | None, data: TaskData, among: Sequence[str], known: Known) -> list[str]:
    """Return the names given, or those among the task's that these labels allow."""
    return list(names) if names is not None else [name for name in among if _fits(known.get(name), data)]


def _fits(baseline: Baseline | OwnBaseline | None, data: TaskData) -> bool:
    return not isinstance(baseline, OwnBaseline) or baseline.fits(data)


def tables_of(data: TaskData, features: Features, seed: int, *, validation: bool = False) -> dict[int, Table]:
    """Return at most about :data:`FIT_PIXELS` training rows and :data:`SCORE_PIXELS` test rows of some features.

    With ``validation`` as many rows of it as of training, where any ground is left for it.
    """
    most = {TRAIN: FIT_PIXELS, TEST: SCORE_PIXELS}
    return tables_by_role(data, features, seed, most | ({VAL: FIT_PIXELS} if validation and data.by_role[VAL] else {}))


def tables_by_role(data: TaskData, features: Features, seed: int, roles: Mapping[int, int]) -> dict[int, Table]:
    """Return a table a role of some features; the same seed picks the same labels, whatever the features.

    Args:
        data: labelled samples under a split.
        features: computed once a sample, for all its roles.
        seed: of the choice of pixels.
        roles: how many pixels are taken at most, about, evenly from all samples, by role; of chips all are.
    """
    share = {role: min(1.0, most / max(int(data.by_role[role]), 1)) for role, most in roles.items()}
    rngs = {role: np.random.default_rng(seed) for role in roles}
    parts: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {role: [] for role in roles}
    for row, index in enumerate(data.indices.tolist()):
        pulse("features of baselines")
        values = None
        for role in [role for role in roles if data.counts[row, role].sum() > 0]:
            sample = data.labelled(index, role)
            if sample is not None:
                values = features(sample, data) if values is None else values
                parts[role].append(_draw(sample, values, share[role], rngs[role], data.answer.per_pixel))
    return {role: Table(*(np.concatenate(column) for column in zip(*parts[role], strict=True))) for role in roles}


def _score(name: str, baseline: Baseline, seed: int, tables: Mapping[int, Table], classes: int) -> ConfusionRow:
    train, test = tables[TRAIN].some(baseline.most, seed), tables[TEST]
    start = time.monotonic()
    classifier = _fitted(name, baseline, seed, train, tables.get(VAL))
    predicted = alive(lambda: classifier.predict(test.features), f"scoring {name}")
    confusions = block_confusions(test.labels, predicted, test.blocks, classes)
    return ConfusionRow(
        name=name,
        kind=baseline.kind,
        seeds=(seed,),
        confusions=confusions,
        fitted_on=len(train.labels),
        seconds=time.monotonic() - start,
    )


def _fitted(name: str, baseline: Baseline, seed: int, train: Table, val: Table | None) -> Classifier:
    if val is not None and baseline.candidates:
        chosen_on = val.some(baseline.most, seed)
        rows = (train.features, train.labels), (chosen_on.features, chosen_on.labels)
        return preferred(name, baseline.candidates, seed, *rows)
    classifier = baseline.make(seed)
    alive(lambda: classifier.fit(train.features, train.labels), f"fitting {name}")
    return classifier


def _draw(
    sample: Labelled, values: np.ndarray, share: float, rng: np.random.Generator, per_pixel: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not per_pixel:
        return values[None], sample.label[None], sample.blocks[None]
    known = known_labels(sample.label)
    if share < 1:
        known &= rng.random(known.shape) < share
    return values[:, known].T, sample.label[known], sample.blocks[known]


def pixel_spectrum(sample: Labelled, data: TaskData) -> np.ndarray:
    """Return every band of each pixel, ``(C, H, W)``."""
    return pixel_bands(sample.groups, data.sensor)


def pixel_surroundings(sample: Labelled, data: TaskData) -> np.ndarray:
    """Return every band of each pixel, with mean and deviation around it."""
    return context_bands(pixel_bands(sample.groups, data.sensor))


def statistics_of_chip(sample: Labelled, data: TaskData) -> np.ndarray:
    """Return statistics of every band over a chip, ``(F,)``."""
    return chip_statistics(sample.groups, data.sensor)


def random_filters(sample: Labelled, data: TaskData, filters: int = 64, seed: int = 0) -> np.ndarray:
    """Return random convolutional features of each pixel, or their means over a chip; two a filter."""
    features = random_conv(pixel_bands(sample.groups, data.sensor), *band_statistics(data), filters, seed)
    return features if data.answer.per_pixel else features.mean((-2, -1))


def band_statistics(data: TaskData) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of reflectance ``(C,)`` over the shards' training samples, as pixels' bands lie."""
    slots = [slot for group in data.sensor.groups for slot in group.slots]
    mean, std = (np.array([data.shards.statistics[key][slot] for slot in slots]) for key in ("mean", "std"))
    return mean, std
