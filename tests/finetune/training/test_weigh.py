"""Weights of networks: every set of them, scored by scikit-learn and drawn block by block in a naive loop."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from bandloom.finetune.training.pixel_network import pixel_loss
from bandloom.finetune.training.weigh import DRAWS, LEAST, best_one, best_set, weigh


def noisy(labels: torch.Tensor, noise: float, seed: int) -> torch.Tensor:
    """Return outputs that are right but for noise."""
    random = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed))
    return torch.eye(3)[labels] + noise * random


def test_the_best_set_is_that_of_all_sets():
    labels = torch.tensor([0, 1, 1, 0])
    right, wrong = torch.eye(2)[labels] * 4, torch.eye(2)[1 - labels] * 4
    weights = best_set([right, wrong, right + 1], labels)
    assert weights == [0.5, 0.0, 0.5] or weights == [1.0, 0.0, 0.0]
    assert weigh([right, wrong, right + 1], labels, None) == (weights, pytest.approx(float(pixel_loss(right, labels))))
    assert best_one([wrong, right, wrong], labels) == 1


def test_macro_f1_chooses_before_the_loss():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    sure = torch.eye(3)[torch.tensor([0, 0, 0, 1, 1, 1])] * 2  # one error
    unsure = torch.eye(3)[labels] * 0.01  # none, at a larger loss
    assert pixel_loss(unsure, labels) > pixel_loss(sure, labels)
    assert best_set([sure, unsure], labels) == [0.0, 1.0]


def test_sets_within_one_standard_error_of_the_best_are_averaged():
    labels = torch.randint(0, 3, (80,), generator=torch.Generator().manual_seed(0))
    blocks = np.repeat(np.arange(8) * 7, 11)[:80]
    outputs = [noisy(labels, 1.0, 1), noisy(labels, 1.5, 2), noisy(labels, 3.0, 3)]
    sets = [kept for kept in itertools.product((1.0, 0.0), repeat=3) if any(kept)]
    said = [
        sum(share * output for share, output in zip(kept, outputs, strict=True)).argmax(1).numpy()  # type: ignore[union-attr]
        for kept in sets
    ]

    def scores(rows: np.ndarray) -> np.ndarray:
        return np.array([f1_score(labels.numpy()[rows], s[rows], average="macro") for s in said])

    every = scores(np.arange(80))
    drawn = []
    for counts in np.random.default_rng(0).multinomial(8, np.full(8, 1 / 8), DRAWS):
        rows = np.concatenate([np.flatnonzero(blocks == block * 7) for block in np.repeat(np.arange(8), counts)])
        drawn.append(scores(rows))
    best = int(every.argmax())
    error = (np.array(drawn) - np.array(drawn)[:, [best]]).std(0)
    alike = [
        np.array(kept) / sum(kept)
        for kept, score, e in zip(sets, every, error, strict=True)
        if score >= every[best] - e
    ]
    wanted = np.mean(alike, 0)
    wanted[wanted < LEAST] = 0
    assert len(alike) > 1
    weights, loss = weigh(outputs, labels, blocks)
    assert weights == pytest.approx(wanted / wanted.sum())
    assert loss == pytest.approx(float(pixel_loss(sum(w * o for w, o in zip(weights, outputs, strict=True)), labels)))  # type: ignore[arg-type]


def test_on_large_ground_it_is_the_best_set():
    labels = torch.randint(0, 3, (60_000,), generator=torch.Generator().manual_seed(0))
    outputs = [noisy(labels, 0.7, 1), noisy(labels, 2.0, 2)]
    weights, _ = weigh(outputs, labels, np.repeat(np.arange(60), 1000))
    assert weights == best_set(outputs, labels)


def test_values_are_weighed_by_their_error():
    values = torch.linspace(-1, 1, 90)
    near = values[:, None] + 0.05 * torch.sin(torch.arange(90.0))[:, None]
    far = values[:, None] + 1
    blocks = np.repeat(np.arange(9), 10)
    assert weigh([far, near], values, blocks)[0] == [0.0, 1.0]
    assert best_one([far, near], values) == 1


def test_many_blocks_of_many_classes_need_little_memory():
    """As many blocks as pixels and 250 classes: pairs of classes by block would be ten gigabytes a set."""
    labels = torch.arange(4_000) % 250
    right = torch.nn.functional.one_hot(labels, 250).float()
    outputs = [right, right.roll(1, 0), right * 2, right.roll(2, 0), right.roll(3, 0)]
    tracemalloc.start()
    weights, _ = weigh(outputs, labels, np.arange(4_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6  # numpy's own; torch's means lie beside
    assert weights[0] + weights[2] > 0.5
