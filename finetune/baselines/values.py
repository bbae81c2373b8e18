"""Baselines of regression: the training mean, and scikit-learn's ridge, random forest and gradient boosting."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bandloom.command_line.console import track
from bandloom.finetune.baselines.classic import FIT_PIXELS, Features, Table, check_names, tables_of
from bandloom.finetune.baselines.classifiers import filled
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.scores.row import Row
from bandloom.finetune.scores.values import ValueRow, block_sums
from bandloom.run_state.pieces import kept
from bandloom.run_state.pulse import alive
from bandloom.scores import RowKind


@dataclass(frozen=True)
class ValueBaseline:
    """What a regressor sees, how it is made from a seed, and how many labels it is fitted on at most."""

    features: Features
    make: Callable[[int], Any]
    most: int = FIT_PIXELS
    kind: RowKind = "classic"


def run_values(names: Sequence[str], data: TaskData, seed: int, known: Mapping[str, Any]) -> list[Row]:
    """Fit and score the named baselines on the split's own training and test values.

    Raises:
        ConfigError: a name is unknown.
    """
    check_names(names, data.task, known)
    tables: dict[Features, dict[int, Table]] = {}

    def score(name: str) -> Row:
        baseline: ValueBaseline = known[name]
        if baseline.features not in tables:
            tables[baseline.features] = tables_of(data, baseline.features, seed)
        return _score(name, baseline, seed, tables[baseline.features])

    made_of = [seed, data.describe()]
    return [
        kept(f"baseline {name}", made_of, partial(score, name), ValueRow) for name in track(list(names), "baselines")
    ]


def _score(name: str, baseline: ValueBaseline, seed: int, tables: Mapping[int, Table]) -> ValueRow:
    train, test = tables[TRAIN].some(baseline.most, seed), tables[TEST]
    start = time.monotonic()
    fitted = alive(lambda: baseline.make(seed).fit(train.features, train.labels), f"fitting {name}")
    predicted = alive(lambda: fitted.predict(test.features), f"scoring {name}")
    sums = block_sums(test.labels, predicted, test.blocks)
    return ValueRow(
        name=name,
        kind=baseline.kind,
        seeds=(seed,),
        sums=sums,
        fitted_on=len(train.labels),
        seconds=time.monotonic() - start,
    )


def mean(seed: int) -> Any:
    """Always the mean of the training values: an R2 of about 0."""
    from sklearn.dummy import DummyRegressor

    return DummyRegressor(strategy="mean")


def ridge(seed: int) -> Any:
    """A linear regression with a penalty chosen by cross-validation, on standardised features."""
    import numpy as np
    from sklearn.linear_model import RidgeCV

    return filled(RidgeCV(np.logspace(-3, 4, 8)), scale=True)


def forest(seed: int) -> Any:
    """A random forest of 100 trees."""
    from sklearn.ensemble import RandomForestRegressor

    return filled(RandomForestRegressor(100, min_samples_leaf=2, random_state=seed, n_jobs=-1), scale=False)


def boosting(seed: int) -> Any:
    """Gradient boosting on histograms (scikit-learn's, in the manner of LightGBM)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return filled(HistGradientBoostingRegressor(random_state=seed), scale=False)
