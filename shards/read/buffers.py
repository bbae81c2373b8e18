"""Reused array buffers: fresh memory costs a page fault every four kilobytes."""

import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable

import numpy as np

_OWN_REFERENCES = 3  # of a free array: the pool's, the local variable's, and the argument's that counts them


class Buffers:
    """Hands out arrays of native samples; whoever holds one, or a view or tensor of it, keeps it to himself."""

    def __init__(self, most: int, allocate: Callable[[tuple[int, ...]], np.ndarray] | None = None) -> None:
        """Remember at most ``most`` arrays of each shape, made by ``allocate``, or ordinary ones."""
        self._allocate = allocate or _ordinary
        self._known: defaultdict[tuple[int, ...], deque[np.ndarray]] = defaultdict(lambda: deque(maxlen=most))
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return a uint16 array of a shape; what it holds is left over."""
        with self._lock:
            known = self._known[shape]
            for array in known:
                if sys.getrefcount(array) == _OWN_REFERENCES:
                    return array
            array = self._allocate(shape)
            known.append(array)
            return array


def _ordinary(shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, np.uint16)
