"""The order of samples as a pure function of (seed, epoch, position): the same for any number of ranks and workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bandloom.draws.splitmix import GOLDEN, mix64, mix64_one
from bandloom.shards.read.several_crops import FEWEST_BATCHES, sample_and_crop
from bandloom.shards.store.index import Entry
from bandloom.training.loader_state import LoaderState

_ALL = 2**64 - 1
WINDOW_BYTES = 8 * 2**30  # samples are shuffled among those of about this many bytes of tars


@dataclass(frozen=True)
class Place:
    """A sample of the endless sequence: its number in the shard set, the epoch it is drawn in, and which crop of it."""

    index: int
    epoch: int
    crop: int = 0


def mix(*parts: np.ndarray | int) -> np.ndarray:
    """Hash integers to uint64 keys, element by element (splitmix64: Steele, Lea and Flood 2014)."""
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = mix64((state + np.asarray(part, np.uint64) + np.uint64(1)) * GOLDEN)
    return state


def mix_one(*parts: int) -> int:
    """Hash integers to one key, as :func:`mix` does; far quicker for a single one."""
    state = 0
    for part in parts:
        state = mix64_one(((state + part + 1) * int(GOLDEN)) & _ALL)
    return state


@dataclass(frozen=True)
class _Tar:
    """What one tar holds of a stream: the samples' numbers, and their size."""

    indices: np.ndarray
    size_bytes: int


class _Stream:
    """The endless sequence of one sensor's samples: one permutation an epoch, joined end to end."""

    def __init__(self, entries: Sequence[Entry], indices: np.ndarray, seed: int, shuffle: bool, window: int) -> None:
        self._indices, self._seed, self._shuffle, self._window = indices, seed, shuffle, window
        self._tars = _by_tar(entries, indices)
        self._orders: dict[int, np.ndarray] = {}  # of the two epochs that were asked for last

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, start: int, count: int) -> list[Place]:
        """Return the samples at ``start``, ``start + 1``, ... of the sequence."""
        places: list[Place] = []
        while len(places) < count:
            epoch, position = divmod(start + len(places), len(self._indices))
            chosen = self._order_of(epoch)[position : position + count - len(places)]
            places += [Place(index, epoch) for index in chosen.tolist()]
        return places

    def at(self, number: int, crop: int) -> Place:
        """Return one sample of the sequence."""
        epoch, position = divmod(number, len(self._indices))
        return Place(int(self._order_of(epoch)[position]), epoch, crop)

    def _order_of(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            rng = np.random.default_rng([self._seed, epoch])
            self._orders[epoch] = self._shuffled(rng) if self._shuffle else self._indices
            while len(self._orders) > 2:
                self._orders.pop(next(iter(self._orders)))
        return self._orders[epoch]

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """Return a permutation: of all samples, or, where they fill several windows, of one window after the other."""
        if sum(tar.size_bytes for tar in self._tars) <= self._window:
            return rng.permutation(self._indices)
        windows, filled = [], self._window
        for tar in (self._tars[k] for k in rng.permutation(len(self._tars))):
            if filled >= self._window:
                windows.append([])
                filled = 0
            windows[-1].append(tar.indices)
            filled += tar.size_bytes
        return np.concatenate([rng.permutation(np.concatenate(window)) for window in windows])


class Order:
    """Global batches of sample numbers, made of micro batches of one sensor each.

    With one sensor, batches run over the end of an epoch, so every sample comes exactly once an epoch whatever the
    batch size. With several, micro batches take turns in proportion to the sensors' samples, evenly spread: the
    sensors' epochs end together, and of S sensors one that holds a share of 1 / (micro_batches + 2 - S) of the samples,
    or more, is in every global batch.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        indices: np.ndarray,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        micro_batches: int = 1,
        window_bytes: int = WINDOW_BYTES,
        crops: int = 1,
        span: int = FEWEST_BATCHES,
        together: int = 1,
    ) -> None:
        """Order the samples ``indices`` of ``entries``.

        Args:
            entries: of all samples.
            indices: numbers of those to use, ``(N,)``.
            batch_size: samples of a global batch.
            seed: of the order.
            shuffle: a new order every epoch, or the order of ``indices``.
            micro_batches: equal parts of a global batch, each of one sensor, where there are several sensors.
            window_bytes: how much of the tars is shuffled together.
            crops: how often a sample comes in its epoch, each time as another crop (:func:`sample_and_crop`).
            span: batches that are gone through once for every crop.
            together: neighbours that stay together.
        """
        self._batch_size, self._total = batch_size, len(indices) * crops
        self._crops, self._span, self._together = crops, span, together
        names = np.array([entries[i].sensor for i in indices])
        streams = [indices[names == name] for name in sorted(set(names.tolist()))]
        self._streams = [_Stream(entries, own, seed, shuffle, window_bytes) for own in streams]
        self._micro_batches = micro_batches if len(streams) > 1 else 1
        self._weights = np.array([len(own) for own in streams], np.int64)

    def batches(self, start: LoaderState) -> Iterator[tuple[list[list[Place]], LoaderState]]:
        """Yield the places of each global batch from ``start`` on, by micro batch, and the state after it."""
        done = start.epoch * self._total + start.position
        while True:
            state = LoaderState(*divmod(done + self._batch_size, self._total))
            if len(self._streams) == 1:
                yield [self._take(self._streams[0], done, self._batch_size)], state
            else:
                number = done // self._batch_size * self._micro_batches
                yield [self._micro_batch(number + k) for k in range(self._micro_batches)], state
            done += self._batch_size

    def _micro_batch(self, number: int) -> list[Place]:
        """Return the samples of micro batch ``number``, counted from the beginning of training."""
        size = self._batch_size // self._micro_batches
        turns = turns_before(number, self._weights)
        which = _next_turn(turns, self._weights)
        return self._take(self._streams[which], int(turns[which]) * size, size)

    def _take(self, stream: _Stream, start: int, size: int) -> list[Place]:
        """Return the samples, or crops of them, at ``start``, ``start + 1``, ... of a stream; ``size`` is a batch."""
        if self._crops == 1:
            return stream.take(start, size)
        chosen = (sample_and_crop(start + k, size, self._crops, self._span, self._together) for k in range(size))
        return [stream.at(sample, crop) for sample, crop in chosen]


def turns_before(number: int, weights: np.ndarray) -> np.ndarray:
    """Return how many of the first ``number`` turns each of several takes, in proportion to ``weights``.

    Turn ``j`` of one with weight ``w`` is due at ``(j + 1/2) / w``; turns come as they are due (Webster's method).
    """
    sure = max(0.0, (number - 2 * len(weights)) / float(weights.sum()))  # all that is due by then is among the first
    turns = np.floor(sure * weights + 0.5).astype(np.int64)
    while turns.sum() < number:
        turns[_next_turn(turns, weights)] += 1
    return turns


def _next_turn(turns: np.ndarray, weights: np.ndarray) -> int:
    return int(np.argmin((turns + 0.5) / weights))


def _by_tar(entries: Sequence[Entry], indices: np.ndarray) -> list[_Tar]:
    by_tar: dict[str, list[int]] = {}
    for index in indices.tolist():
        by_tar.setdefault(entries[index].shard, []).append(index)
    return [
        _Tar(np.array(own, np.int64), sum(size for index in own for _, size in entries[index].members.values()))
        for own in by_tar.values()
    ]
