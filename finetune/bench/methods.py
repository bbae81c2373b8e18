"""The classifiers that read features: nearest neighbours, a logistic regression with a swept C, a forest, the majority.

kNN-5 and linear are those of torchgeo-bench (Euclidean, one vote each; L-BFGS, C by validation), kNN-20 is that of the
papers on embeddings (cosine, votes weighted by exp(similarity / 0.07), as OlmoEarth and Galileo evaluate).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bandloom.closed_form import neighbour_votes
from bandloom.finetune.baselines.classifiers import forest as forest_classifier
from bandloom.finetune.baselines.several import one_by_one
from bandloom.finetune.bench.given import Given
from bandloom.finetune.data.splits import TEST, TRAIN, VAL
from bandloom.finetune.probes.logistic import swept_logistic
from bandloom.finetune.scores.row import Row
from bandloom.run_state.pulse import alive

TEMPERATURE = 0.07  # of the weights of kNN-20


@dataclass(frozen=True)
class Scored:
    """A row of one seed, and what else is told of it, such as the C that was chosen."""

    row: Row
    told: dict[str, Any] = field(default_factory=dict)


Method = Callable[[Given, int], Scored]  # of a seed


def neighbours(k: int, temperature: float | None, given: Given, seed: int) -> Scored:
    """Let the nearest training rows vote."""
    train = given.tables[TRAIN]

    def votes(role: int) -> np.ndarray:
        return neighbour_votes(train.features, given.targets(TRAIN), given.tables[role].features, k, temperature)

    held = votes(VAL) if given.several else None
    return Scored(given.row(votes(TEST), held, len(train.labels)))


def linear(given: Given, seed: int) -> Scored:
    """Fit logistic regressions, and let validation labels choose among them."""
    train, val = ((given.tables[role].features, given.targets(role)) for role in (TRAIN, VAL))
    swept = swept_logistic(
        train, val, given.judge, several=given.several, strengths=given.strengths, device=given.device
    )
    held = swept.model.scores(val[0]) if given.several else None
    scores = swept.model.scores(given.tables[TEST].features)
    return Scored(given.row(scores, held, len(train[0]) + len(val[0])), {"best_c": swept.strength})


def forest(given: Given, seed: int) -> Scored:
    """Fit a random forest on the training rows."""
    train = given.tables[TRAIN]
    if given.several:
        several = one_by_one(forest_classifier)(train.features, train.labels, seed)
        test, held = (several(given.tables[role].features) for role in (TEST, VAL))
        return Scored(given.row(test, held, len(train.labels)))
    fitted = forest_classifier(seed).fit(train.features, train.labels)
    said = fitted.predict(given.tables[TEST].features).astype(int)
    return Scored(given.row(np.eye(given.classes)[said], None, len(train.labels)))


def majority(given: Given, seed: int) -> Scored:
    """Say of every row how common each class is among the training rows."""
    rates, count = given.targets(TRAIN).mean(0), len(given.tables[TRAIN].labels)
    held, scores = (np.tile(rates, (len(given.tables[role].labels), 1)) for role in (VAL, TEST))
    return Scored(given.row(scores, held, count))


KNN = {"knn5": partial(neighbours, 5, None), "knn20": partial(neighbours, 20, TEMPERATURE)}
METHODS: dict[str, Method] = {**KNN, "linear": linear, "forest": forest, "majority": majority}


def score(name: str, given: Given, seed: int) -> Scored:
    """Fit a method by its name, and score it on the test rows."""
    return alive(lambda: METHODS[name](given, seed), f"fitting {name}")
