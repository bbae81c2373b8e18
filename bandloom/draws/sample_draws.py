"""Random draws keyed by sample: the same on any rank, in any micro batch, worker and machine.

A step that is cut into micro batches and ranks in another way is then the same step, to the rounding of its sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from bandloom.draws.splitmix import GOLDEN, mix64

_SEEN: ContextVar[np.ndarray | None] = ContextVar("draws of the samples that a model sees", default=None)


@contextmanager
def seen(batch: Any) -> Iterator[None]:
    """Say within the block which samples a model sees, for layers that draw: ``batch.draws``, where it has them."""
    token = _SEEN.set(getattr(batch, "draws", None))
    try:
        yield
    finally:
        _SEEN.reset(token)


def draws_seen(count: int) -> np.ndarray | None:
    """Return one random key for each of ``count`` samples that a model sees; None where nobody said which they are.

    Several views of a batch, one after the other, draw apart: ``count`` is then a multiple of its samples.
    """
    draws = _SEEN.get()
    if draws is None or not len(draws) or count % len(draws):
        return None
    views = np.arange(count // len(draws), dtype=np.uint64) * GOLDEN
    with np.errstate(over="ignore"):
        return (np.asarray(draws, np.uint64)[None] + views[:, None]).reshape(-1)


def rng_of(draw: int | np.uint64, purpose: int) -> np.random.Generator:
    """Return the random generator of one sample and one purpose: the same on any rank, worker and machine."""
    return np.random.Generator(np.random.Philox(key=[int(draw), purpose]))


def uniforms(draws: np.ndarray, purpose: int, count: int) -> np.ndarray:
    """Return ``(B, count)`` float32 in 0..1 (1 excluded), each row a function of its sample and purpose alone.

    All samples in one pass, for what every training step draws: a generator a sample costs 23 ms for 512 of them, as
    much as a GPU needs for their step. SplitMix64 (Steele, Lea & Flood 2014) counts on from each row's mixed key.

    Args:
        draws: one random key a sample, ``(B,)`` uint64.
        purpose: tells apart what the numbers are for.
        count: numbers a sample.
    """
    with np.errstate(over="ignore"):
        keys = mix64(np.asarray(draws, np.uint64) + mix64(np.array([purpose], np.uint64) + GOLDEN))
        bits = mix64(keys[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
