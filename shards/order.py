"""The order of samples as a pure function of (seed, epoch, position): the same for any number of ranks and workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_MIX_1, _MIX_2, _STEP = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class LoaderState:
    """Where a loader stands: whole epochs done, and global samples of this epoch done."""

    epoch: int
    position: int


@dataclass(frozen=True)
class Place:
    """One sample of the endless sequence: its number in the shard set, and the epoch it is drawn in."""

    index: int
    epoch: int


def mix(*parts: np.ndarray | int) -> np.ndarray:
    """Hash integers to uint64 keys, element by element (splitmix64: Steele, Lea and Flood 2014)."""
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = (state + np.asarray(part, np.uint64) + np.uint64(1)) * _STEP
            state = (state ^ (state >> np.uint64(30))) * _MIX_1
            state = (state ^ (state >> np.uint64(27))) * _MIX_2
            state = state ^ (state >> np.uint64(31))
    return state


class _Stream:
    """The endless sequence of one sensor's samples: one permutation an epoch, joined end to end."""

    def __init__(self, indices: np.ndarray, seed: int, shuffle: bool) -> None:
        self._indices, self._seed, self._shuffle = indices, seed, shuffle
        self._epoch, self._order = -1, indices

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, start: int, count: int) -> list[Place]:
        """Return the samples at ``start``, ``start + 1``, ... of the sequence."""
        places = []
        for at in range(start, start + count):
            epoch, position = divmod(at, len(self._indices))
            places.append(Place(int(self._order_of(epoch)[position]), epoch))
        return places

    def _order_of(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._indices
            if self._shuffle:
                self._order = np.random.default_rng([self._seed, epoch]).permutation(self._indices)
        return self._order


class Order:
    """Global batches of sample numbers, each of one sensor, drawn in proportion to the sensors' samples.

    With one sensor, batches run over the end of an epoch, so every sample comes exactly once an epoch whatever the
    batch size. With several, each sensor has epochs of its own, and which comes next is hashed from the batch number.
    """

    def __init__(self, sensors: Sequence[str], indices: np.ndarray, batch_size: int, seed: int, shuffle: bool) -> None:
        """Take the sensor of every sample of ``indices``, in the same order."""
        self._batch_size, self._seed, self._total = batch_size, seed, len(indices)
        names = np.array(sensors)
        self._streams = [_Stream(indices[names == name], seed, shuffle) for name in sorted(set(sensors))]
        self._shares = np.cumsum([len(stream) for stream in self._streams]) / max(1, self._total)

    def batches(self, start: LoaderState) -> Iterator[tuple[list[Place], LoaderState]]:
        """Yield the places of each global batch from ``start`` on, and the state after it."""
        done = start.epoch * self._total + start.position
        number, rest = divmod(done, self._batch_size)
        if len(self._streams) == 1:
            taken = [done]
        else:
            chosen = self._choices(0, number)
            taken = [int((chosen == k).sum()) * self._batch_size for k in range(len(self._streams))]
            done -= rest
        while True:
            which = int(self._choices(number, number + 1)[0])
            places = self._streams[which].take(taken[which], self._batch_size)
            taken[which] += self._batch_size
            done += self._batch_size
            number += 1
            yield places, LoaderState(*divmod(done, self._total))

    def _choices(self, first: int, last: int) -> np.ndarray:
        """Return which sensor's turn each batch number is."""
        draws = mix(self._seed, np.arange(first, last, dtype=np.uint64)) / np.float64(2**64)
        return np.minimum(np.searchsorted(self._shares, draws, side="right"), len(self._streams) - 1)
