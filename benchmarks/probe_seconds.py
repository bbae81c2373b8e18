"""How long probing 10,000 chips takes on kept features, against scikit-learn's logistic regression on the same rows."""

import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from bandloom.closed_form import nearest_neighbours, ridge
from bandloom.finetune.probes.attention import attention_probe
from benchmarks.harness import Figure

TRAIN, TEST, WIDTH, TOKENS, CLASSES = 7_500, 2_500, 192, 16, 10


def run() -> list[Figure]:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, TRAIN + TEST)
    centres = rng.standard_normal((CLASSES, WIDTH))
    tokens = (rng.standard_normal((TRAIN + TEST, TOKENS, WIDTH)) * 3 + centres[labels][:, None]).astype(np.float16)
    mean = tokens.astype(np.float32).mean(1)
    train, test, known = mean[:TRAIN], mean[TRAIN:], labels[:TRAIN]
    rival = seconds(lambda: LogisticRegression(max_iter=200).fit(train, known).predict(test))
    probes: dict[str, Callable[[], np.ndarray]] = {
        "linear": lambda: ridge(train, known, test, CLASSES),
        "neighbours": lambda: nearest_neighbours(train, known, test, CLASSES, k=20),
        "attention": lambda: attention_probe(tokens[:TRAIN], known, tokens[TRAIN:], CLASSES),
    }
    note = (
        f"{TRAIN} + {TEST} chips, width {WIDTH}, one thread; the linear probe's time holds a 5-fold choice of penalty"
    )
    return [
        Figure(
            f"probe_seconds_{name}",
            seconds(probe),
            "s",
            "scikit-learn LogisticRegression, one penalty",
            rival,
            "",
            note,
        )
        for name, probe in probes.items()
    ]


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
