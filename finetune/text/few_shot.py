"""Few-shot classification: a linear head that starts at the words of the classes, beside one that starts at random.

Both take the same steps on the same few samples (Radford et al. 2021, section 3.1.3, start from words; WiSE-FT, arXiv
2109.01903, does so for robustness). With no sample at all the first is the zero-shot classifier, the second is chance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bandloom.finetune.text.word_scores import class_mean
from bandloom.run_state.pulse import pulse

SHOTS, DRAWS, STEPS, LR = (0, 1, 5, 10), 5, 100, 0.02
SCALE = 20.0  # of the cosines in the softmax; the aligned model's own scale is near it


def few_shot(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    truth: np.ndarray,
    words: np.ndarray,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return, for each number of shots, the mean recall of both heads over choices of the few samples.

    Args:
        train: unit vectors of samples to choose from, ``(N, D)``.
        labels: class indices ``(N,)``.
        test: unit vectors ``(M, D)``.
        truth: class indices ``(M,)``.
        words: unit vectors of the classes ``(K, D)``.
        shots: samples a class; a class with fewer gives what it has.
        draws: choices of the few.
        seed: of the choices and of the random heads.
    """
    scored = np.unique(truth).tolist()
    curve = []
    for count in shots:
        by_start: dict[str, list[float]] = {"from words": [], "from random": []}
        for draw in range(draws):
            pulse("few-shot heads")
            rng = np.random.default_rng([seed, count, draw])
            rows = choose(labels, count, rng)
            chance = rng.standard_normal(words.shape).astype(np.float32)
            starts = {"from words": words, "from random": chance / np.linalg.norm(chance, axis=1, keepdims=True)}
            for name, start in starts.items():
                head = fit_head(start, train[rows], labels[rows])
                said = (test @ head.T).argmax(1)
                by_start[name].append(class_mean(said, truth, scored, len(words))["mean_recall"])
        point: dict[str, Any] = {"shots": count, "chance": 1 / len(words)}
        for name, result in by_start.items():
            point |= {name: float(np.mean(result)), f"{name} deviation": float(np.std(result))}
        curve.append(point)
    return curve


def choose(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows of ``count`` samples of each class, or all that it has."""
    rows = [rng.permutation(np.flatnonzero(labels == value))[:count] for value in np.unique(labels)]
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def fit_head(start: np.ndarray, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return class vectors ``(K, D)`` after steps of Adam on the cosines' cross-entropy; no samples, no step."""
    if not len(labels):
        return start
    head = torch.from_numpy(start.astype(np.float32)).clone().requires_grad_(True)
    inputs, targets = torch.from_numpy(vectors.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
    optimizer = torch.optim.Adam([head], lr=LR / np.sqrt(start.shape[1]))
    for _ in range(STEPS):
        loss = functional.cross_entropy(SCALE * inputs @ functional.normalize(head, dim=1).T, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return functional.normalize(head.detach(), dim=1).numpy()
