"""From logits to probabilities and classes: temperature, softmax or sigmoid, and thresholds."""

import numpy as np

from bandloom.errors import BundleError
from bandloom.export.bundle.record import Contract

VALUE_STEP = 0.01  # deviations of the training labels that two equal values may lie apart
EVEN = 0.5  # the threshold of a class that has none of its own


def probabilities(contract: Contract, logits: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return probabilities of logits whose classes lie along ``axis``; of several classes at once they do not sum to 1.

    The temperature was fitted on validation labels (Guo et al. 2017, On calibration of modern neural networks); it
    changes no class.
    """
    cooled = logits / np.float32(contract.temperature)
    if contract.answer.several:
        return 1 / (1 + np.exp(-cooled.clip(-80, 80)))
    raised = np.exp(cooled - cooled.max(axis=axis, keepdims=True))
    return raised / raised.sum(axis=axis, keepdims=True)


def values(contract: Contract, outputs: np.ndarray, axis: int = 0) -> np.ndarray:
    """Return values in the quantity's unit, float32, of outputs whose one channel lies along ``axis``.

    Raises:
        BundleError: the model predicts classes.
    """
    if contract.target is None:
        raise BundleError(f"a model of task {contract.task} predicts classes, not values; ask for its probabilities.")
    return contract.target.to_values(outputs.take(0, axis=axis)).astype(np.float32)


def decisions(contract: Contract, logits: np.ndarray) -> np.ndarray:
    """Return what is decided for ``(B, K, ...)``.

    The likeliest class ``(B, ...)``, of several classes ``(B, K)`` bool, of a regression the output, ``(B, ...)``.
    """
    if contract.answer.continuous:
        return logits[:, 0]
    if not contract.answer.several:
        return logits.argmax(axis=1)
    return probabilities(contract, logits, axis=1) >= thresholds(contract)


def agreement(contract: Contract, one: np.ndarray, two: np.ndarray) -> float:
    """Return the share of equal decisions of two outputs ``(B, K, ...)``; values may differ by :data:`VALUE_STEP`."""
    first, second = decisions(contract, one), decisions(contract, two)
    if contract.answer.continuous:
        return float((np.abs(first - second) <= VALUE_STEP).mean())
    return float((first == second).mean())


def thresholds(contract: Contract) -> np.ndarray:
    """Return the probability from which on each class is there, ``(K,)``."""
    return np.array(contract.thresholds or (EVEN,) * len(contract.get_label_set()))


def check_thresholds(given: tuple[float, ...], classes: int) -> None:
    """Check that there is a threshold for every class, or none at all.

    Raises:
        BundleError: there are some, and not as many as classes.
    """
    if len(given) not in (0, classes):
        raise BundleError(f"there are {len(given)} thresholds for {classes} classes; fine-tune the model anew.")
