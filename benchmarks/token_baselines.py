"""Baselines for tokens of ground: random convolutional features and a RandomForest, swept as every other row is.

The classifier of a row, and the layer or the features that serve it best, are chosen on validation scenes; the unseen
scenes are looked at once. Random convolutional features are those of Rolf et al. 2021 (MOSAIKS, torchgeo's RCF) with
Gaussian filters: rectified both ways and averaged, here over a token and over the 3 x 3 tokens around it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from bandloom.closed_form import ridge
from bandloom.finetune.baselines.classifiers import forest
from bandloom.finetune.baselines.features import random_conv
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.sensors import Sensor

CLASSIFIERS = ("ridge", "forest")
FILTERS = 128  # two signs and two windows make 512 features


class TokenFeatures(NamedTuple):
    """Features of tokens ``(N, D)``: of labelled, of validation and of unseen scenes."""

    labelled: np.ndarray
    validation: np.ndarray
    unseen: np.ndarray


def random_conv_tokens(
    groups: dict[int, np.ndarray], sensor: Sensor, mean: np.ndarray, std: np.ndarray, token_px: int
) -> np.ndarray:
    """Return ``(N * T, 4 F)``: random filters averaged over each token, and over the 3 x 3 tokens around it.

    Args:
        groups: chips ``{gsd_m: (N, C, H, W)}`` uint16.
        sensor: whose groups they are.
        mean: of reflectance ``(C,)``, as pixels' bands lie; so is ``std``.
        std: deviation.
        token_px: side of a token in 10 m pixels.
    """
    rows = []
    for index in range(len(next(iter(groups.values())))):
        bands = pixel_bands({gsd_m: group[index] for gsd_m, group in groups.items()}, sensor)
        response = random_conv(bands, mean, std, FILTERS)
        depth, height, width = response.shape
        tokens = response.reshape(depth, height // token_px, token_px, width // token_px, token_px).mean((2, 4))
        around = ndimage.uniform_filter(tokens, (0, 3, 3), mode="nearest")
        rows.append(np.concatenate([tokens, around]).reshape(2 * depth, -1).T)
    return np.concatenate(rows).astype(np.float32)


def swept_accuracy(
    candidates: Sequence[TokenFeatures],
    labels: np.ndarray,
    rows: np.ndarray,
    validation: np.ndarray,
    unseen: np.ndarray,
    ignore: int,
    seed: int,
    classifiers: Sequence[str] = CLASSIFIERS,
) -> float:
    """Return the accuracy on unseen tokens of the candidate and classifier that validation tokens prefer.

    Args:
        candidates: feature sets to choose from.
        labels: class indices of labelled tokens ``(N,)``; the ``rows`` of them are fitted on.
        rows: indices of the labelled tokens in use.
        validation: class indices of validation tokens ``(M,)``, ``ignore`` where there is none; so is ``unseen``.
        unseen: class indices of the tokens that are scored.
        ignore: the index of no class.
        seed: of the forest.
        classifiers: which to choose from.
    """
    best = (-1.0, 0.0)
    for features in candidates:
        for name in classifiers:
            chosen, told = _fitted(name, features, labels, rows, seed)
            best = max(best, (_hits(chosen, validation, ignore), _hits(told, unseen, ignore)), key=lambda pair: pair[0])
    return round(best[1], 4)


def _fitted(
    name: str, features: TokenFeatures, labels: np.ndarray, rows: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted classes of validation and of unseen tokens."""
    train = features.labelled[rows]
    if name == "forest":
        fitted = forest(seed)
        fitted.fit(train, labels[rows])
        return fitted.predict(features.validation), fitted.predict(features.unseen)
    mean, std = train.mean(0), train.std(0) + 1e-6
    both = (np.concatenate([features.validation, features.unseen]) - mean) / std
    found = ridge((train - mean) / std, labels[rows], both, int(labels[rows].max()) + 1)
    return found[: len(features.validation)], found[len(features.validation) :]


def _hits(found: np.ndarray, wanted: np.ndarray, ignore: int) -> float:
    return float((found == wanted)[wanted != ignore].mean())
