"""How strongly a linear or kernel baseline is tied down, chosen on validation labels as a model's steps are."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from bandloom.command_line.console import logger
from bandloom.finetune.baselines.classifiers import Classifier
from bandloom.run_state.pulse import alive

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C of scikit-learn's: the greater, the less it is tied down
KERNEL_STRENGTHS = (0.1, 1.0, 10.0, 100.0)

Make = Callable[[int], Classifier]
Rows = tuple[np.ndarray, np.ndarray]  # features (N, F) and labels (N,)


class _MakeOfStrength(Protocol):
    def __call__(self, seed: int, strength: float) -> Classifier: ...


def candidates(make: _MakeOfStrength, strengths: Sequence[float] = STRENGTHS) -> tuple[Make, ...]:
    """Return the same classifier at each strength."""
    return tuple(partial(make, strength=strength) for strength in strengths)


def preferred(name: str, makes: Sequence[Make], seed: int, train: Rows, validation: Rows) -> Classifier:
    """Return the fitted classifier with the best macro-F1 on validation labels; of equals the first.

    Args:
        name: of the baseline, for messages.
        makes: the candidates, each from a seed.
        seed: of each.
        train: features and labels that all are fitted on.
        validation: those that choose.
    """
    from sklearn.metrics import f1_score

    best: tuple[float, Classifier] | None = None
    for number, make in enumerate(makes, 1):
        said = f"fitting {name}, strength {number} of {len(makes)}"
        classifier = make(seed)
        alive(partial(classifier.fit, *train), said)
        predicted = alive(partial(classifier.predict, validation[0]), said)
        score = float(f1_score(validation[1], predicted, average="macro", zero_division=0.0))  # pyright: ignore[reportArgumentType]
        logger.debug("%s: macro-F1 %.4f on validation", said, score)
        if best is None or score > best[0]:
            best = score, classifier
    if best is None:
        raise ValueError(f"no candidate for {name}; expected at least one")
    return best[1]
