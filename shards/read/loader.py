"""The loader: threads decode native uint16 straight into the batch, every sample verified on the way.

Threads, not processes: Blosc2 (when told to) and xxh3 release the interpreter lock, and nothing has to be copied,
pickled or kept in /dev/shm. Two threads give 1.1 times the samples of one at 120 pixels on two quiet cores, and use 1.5
cores for it: the calls are short, and handing the lock over costs.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.command_line.console import logger
from bandloom.errors import ShardError
from bandloom.sensors import Sensor
from bandloom.shards.read.buffers import Buffers
from bandloom.shards.read.fetch_ahead import FetchAhead
from bandloom.shards.read.order import WINDOW_BYTES, Order, Place, mix, mix_one
from bandloom.shards.read.several_crops import HeldCrop, HeldCrops, span_of
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.store.index import Entry
from bandloom.training.loader_state import BEGINNING, LoaderState

__all__ = ["Batch", "Loader", "LoaderState"]

ALIGN_PX = 6  # crops begin on the 60 m grid
DAMAGED_SHARE = 0.001  # more damaged samples than this stop the run
_ATTEMPTS = 8  # replacements tried for one damaged sample


@dataclass(frozen=True)
class Batch:
    """One rank's share of a global batch, all of one sensor; of a mixed one, its first micro batch."""

    sensor: Sensor
    groups: dict[int, np.ndarray]  # {gsd_m: (B, C, H_g, W_g)} uint16 DN
    keys: tuple[str, ...]
    draws: np.ndarray  # (B,) uint64, one random key a sample and epoch
    label: np.ndarray | None  # (B, H, W) uint8 class indices at 10 m
    class_index: np.ndarray | None  # (B,) int64, -1 without a class
    corner_m: np.ndarray  # (B, 2) float64, UTM x and y of each crop's upper-left corner
    state: LoaderState  # after this batch
    rest: tuple["Batch", ...] = ()  # the other micro batches of a mixed global batch, each of one sensor


class Loader:
    """Endless batches over chosen samples; see :meth:`__init__`."""

    def __init__(
        self,
        shards: ShardSet,
        indices: np.ndarray,
        batch_size: int,
        *,
        seed: int = 0,
        crop_px: int | None = None,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
        start: LoaderState = BEGINNING,
        shuffle: bool = True,
        augment: bool = True,
        micro_batches: int = 1,
        window_bytes: int = WINDOW_BYTES,
        allocate: Callable[[tuple[int, ...]], np.ndarray] | None = None,
        in_pairs: bool = False,
        crops: int = 1,
    ) -> None:
        """Prepare batches of ``indices``.

        Args:
            shards: where samples are read from.
            indices: numbers of the samples to use, ``(N,)``.
            batch_size: samples of a global batch; every rank gets an equal share of each.
            seed: of the order, the crops and ``draws``.
            crop_px: side of the square cut from each sample, in pixels of 10 m, a multiple of 6; None: all of it.
            rank: of this process.
            world: how many processes share a global batch.
            workers: threads that decode; 0 decodes in the caller's.
            start: where to begin; a :class:`LoaderState` of an earlier batch goes on after it.
            shuffle: a new order every epoch, or the order of ``indices``.
            augment: random crops; else the middle of what was measured.
            micro_batches: equal parts of a global batch; where the samples are of several sensors, each part is of one,
                all ranks' of the same, and sensors take turns in proportion to their samples (:class:`Order`).
            window_bytes: samples are shuffled among those of about this many bytes of tars, one such window after the
                other, so that a bucket's cache, and a disk's, need not hold more than two.
            allocate: makes the uint16 arrays that batches lie in, such as page-locked ones for copies to a GPU.
            in_pairs: neighbours in the order stay on one rank, two and two, for what mixes them.
            crops: random crops of a sample for one decoding, far apart in the order; an epoch then has as many times
                the samples. Decoding is what a loader's time goes into; crops of one sample are alike, and what waits
                for its turn is held in memory, up to 1 GiB over all ranks.

        Raises:
            ShardError: no samples, sizes that do not divide, or a crop that does not fit.
        """
        _check(shards, indices, batch_size, crop_px, world, micro_batches)
        if crops < 1 or (crops > 1 and not augment):
            raise ShardError(f"crops is {crops}; expected 1, or more of a loader that augments: others cut one middle.")
        self.shards, self.batch_size, self.seed = shards, batch_size, seed
        self.crop_px = crop_px or shards.side_px
        self.damaged: dict[int, str] = {}
        self._rank, self._world, self._workers, self._start, self._augment = rank, world, workers, start, augment
        self._together = 2 if in_pairs else 1
        self._crops, size = crops, batch_size // (micro_batches if len(shards.sensors) > 1 else 1)
        waiting, sample = (crops - 1) * _bytes(shards, self.crop_px), _bytes(shards, shards.side_px)
        # a view of a sample keeps all of it, and is had for nothing; of one that the batch holds there is none
        self._held_as_views = self.crop_px < shards.side_px and sample <= 2 * waiting
        span = span_of(size * (sample if self._held_as_views else waiting))
        self._held = HeldCrops(span * size * (crops - 1))
        self._indices = np.asarray(indices, np.int64)
        self._new_order = partial(
            Order,
            shards.entries,
            self._indices,
            batch_size,
            seed=seed,
            shuffle=shuffle,
            micro_batches=micro_batches,
            window_bytes=window_bytes,
            crops=crops,
            span=span,
            together=self._together,
        )
        self._window_bytes = window_bytes
        self._has_label = any("label.b2nd" in shards.entries[i].members for i in self._indices)
        self._has_class = any(shards.entries[i].class_index is not None for i in self._indices)
        self._lock = threading.Lock()
        self._buffers = Buffers(2 * micro_batches * (workers + 2), allocate)

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches without end, decoding ahead in ``workers`` threads."""
        jobs = self._new_order().batches(self._start)
        if self._workers <= 0:
            for parts, state in jobs:
                yield self._assemble(parts, state)
        pool = ThreadPoolExecutor(self._workers, "shards")
        ahead: deque[Future[Batch]] = deque()
        fetcher = self._fetcher()
        try:
            while True:
                while len(ahead) <= self._workers:
                    ahead.append(pool.submit(self._assemble, *next(jobs)))
                yield ahead.popleft().result()
                if fetcher is not None:
                    fetcher.advance()
        finally:
            if fetcher is not None:
                fetcher.stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def _fetcher(self) -> FetchAhead | None:
        """Return what fetches tars from a bucket half a window before their samples are due; None for a folder."""
        if self.shards.bucket is None:
            return None
        held = sum(size for i in self._indices for _, size in self.shards.entries[i].members.values())
        batches = int(self._window_bytes / 2 / held * len(self._indices) / self.batch_size)
        tars = (
            [self.shards.entries[place.index].shard for part in places for place in part]
            for places, _ in self._new_order().batches(self._start)
        )
        return FetchAhead(self.shards.fetch, tars, batches)

    def _assemble(self, parts: list[list[Place]], state: LoaderState) -> Batch:
        """Decode this rank's share of a global batch."""
        first, *rest = [self._micro_batch(places, state) for places in parts]
        return replace(first, rest=tuple(rest)) if rest else first

    def _micro_batch(self, places: list[Place], state: LoaderState) -> Batch:
        mine = [place for at, place in enumerate(places) if at // self._together % self._world == self._rank]
        sensor = self.shards.sensors[self.shards.entries[mine[0].index].sensor]
        groups = {}
        for group in sensor.groups:
            side = self.crop_px * 10 // group.gsd_m
            groups[group.gsd_m] = self._buffers.take((len(mine), len(group.bands), side, side))
        label = None
        if self._has_label:
            label = np.full((len(mine), self.crop_px, self.crop_px), IGNORE_INDEX, np.uint8)
        entries, corners = [], np.empty((len(mine), 2))
        draws = mix(self.seed, np.array([own.epoch for own in mine]), np.array([own.index for own in mine]))
        if self._crops > 1:
            draws = mix(draws, np.array([own.crop for own in mine]))
        for slot, place in enumerate(mine):
            index, corner = self._fill(place, int(draws[slot]), groups, label, slot)
            entries.append(self.shards.entries[index])
            corners[slot] = entries[-1].x_m + 10 * corner[1], entries[-1].y_m - 10 * corner[0]
        classes = None
        if self._has_class:
            classes = np.array([-1 if e.class_index is None else e.class_index for e in entries], np.int64)
        keys = tuple(entry.key for entry in entries)
        return Batch(sensor, groups, keys, draws, label, classes, corners, state)

    def _fill(
        self, place: Place, draw: int, groups: dict[int, np.ndarray], label: np.ndarray | None, slot: int
    ) -> tuple[int, tuple[int, int]]:
        """Decode one sample into its slot, or the same replacement on every machine when it is damaged."""
        if self._crops > 1 and (held := self._held.take(place.index, place.epoch, place.crop)) is not None:
            for gsd_m, batch in groups.items():
                batch[slot] = held.groups[gsd_m]
            if label is not None and held.label is not None:
                label[slot] = held.label
            return place.index, held.corner
        index = place.index
        sensor = self.shards.entries[index].sensor
        for attempt in range(_ATTEMPTS):
            entry = self.shards.entries[index]
            try:
                if entry.sensor != sensor:
                    raise ShardError(f"{entry.key} is of another sensor.")
                corner = self._corner(entry, draw)
                pixels, mask = self._decode(index, entry, corner, groups, label, slot)
                if attempt == 0:
                    self._hold_others(place, entry, pixels, mask)
                return index, corner
            except _TooManyDamaged:
                raise
            except ShardError as error:
                if entry.sensor == sensor:
                    self._count_damaged(index, error)
                index = int(self._indices[mix_one(self.seed, draw, attempt) % len(self._indices)])
        raise ShardError(f"{_ATTEMPTS} samples in a row are damaged; run bandloom shards verify {self.shards.path}.")

    def _decode(
        self,
        index: int,
        entry: Entry,
        corner: tuple[int, int],
        groups: dict[int, np.ndarray],
        label: np.ndarray | None,
        slot: int,
    ) -> tuple[dict[int, np.ndarray], np.ndarray | None]:
        """Decode one sample into its slot; returns all of it, ``{gsd_m: (C, H_g, W_g)}`` and labels ``(H, W)``."""
        whole = self.crop_px == entry.side_px
        outs = {}
        for gsd_m, batch in groups.items():
            side = entry.side_px * 10 // gsd_m
            outs[f"g{gsd_m}.b2nd"] = batch[slot] if whole else np.empty((batch.shape[1], side, side), np.uint16)
        self.shards.read_into(index, outs)
        if not whole:
            for (gsd_m, batch), pixels in zip(groups.items(), outs.values(), strict=True):
                top, left, size = corner[0] * 10 // gsd_m, corner[1] * 10 // gsd_m, batch.shape[-1]
                batch[slot] = pixels[:, top : top + size, left : left + size]
        mask = None if label is None else self.shards.mask(index, "label")
        if label is not None and mask is not None:
            label[slot] = mask[corner[0] : corner[0] + self.crop_px, corner[1] : corner[1] + self.crop_px]
        return dict(zip(groups, outs.values(), strict=True)), mask

    def _hold_others(self, place: Place, entry: Entry, pixels: dict[int, np.ndarray], mask: np.ndarray | None) -> None:
        """Cut the later crops of a decoded sample, for their turns."""
        for crop in range(place.crop + 1, self._crops):
            draw = mix_one(mix_one(self.seed, place.epoch, place.index), crop)
            top, left = self._corner(entry, draw)
            cut = {}
            for gsd_m, dn in pixels.items():
                y, x, side = (px * 10 // gsd_m for px in (top, left, self.crop_px))
                view = dn[:, y : y + side, x : x + side]
                cut[gsd_m] = view if self._held_as_views else view.copy()
            label = None if mask is None else mask[top : top + self.crop_px, left : left + self.crop_px]
            self._held.put(place.index, place.epoch, crop, HeldCrop(cut, label, (top, left)))

    def _corner(self, entry: Entry, draw: int) -> tuple[int, int]:
        """Return the crop's upper-left (row, column) in pixels, on the 60 m grid and within what the scene covered."""
        corner = []
        for axis, inside in enumerate(entry.inside_px):
            room = max(0, min(inside, entry.side_px) - self.crop_px) // ALIGN_PX
            steps = room // 2
            if self._augment and room:
                steps = mix_one(draw, axis) % (room + 1)
            corner.append(steps * ALIGN_PX)
        return corner[0], corner[1]

    def _count_damaged(self, index: int, error: ShardError) -> None:
        """Log a damaged sample once; stop the run when there are too many."""
        with self._lock:
            if index in self.damaged:
                return
            self.damaged[index] = str(error)
            logger.warning("a damaged sample is replaced by another: %s", error)
            if len(self.damaged) > max(1, DAMAGED_SHARE * len(self._indices)):
                listed = "; ".join(list(self.damaged.values())[:5])
                raise _TooManyDamaged(
                    f"{len(self.damaged)} of {len(self._indices)} samples are damaged ({listed}); copy these shards"
                    " again, or rebuild them."
                )


class _TooManyDamaged(ShardError):
    """Ends a run; never itself replaced by another sample."""


def _bytes(shards: ShardSet, side_px: int) -> int:
    """Return the bytes of a square of the sensor that has the most."""
    return max(
        sum(2 * len(group.bands) * (side_px * 10 // group.gsd_m) ** 2 for group in sensor.groups)
        for sensor in shards.sensors.values()
    )


def _check(
    shards: ShardSet, indices: np.ndarray, batch_size: int, crop_px: int | None, world: int, micro_batches: int
) -> None:
    if len(indices) == 0:
        raise ShardError(
            f"no samples of {shards.path} are chosen; check the split (bandloom shards info {shards.path})."
        )
    if batch_size <= 0 or batch_size % world:
        raise ShardError(
            f"a global batch of {batch_size} does not divide over {world} ranks; use a multiple of {world}."
        )
    if batch_size % (world * micro_batches):
        raise ShardError(
            f"a global batch of {batch_size} does not divide over {world} ranks and {micro_batches} micro batches; use"
            f" a multiple of {world * micro_batches}."
        )
    if crop_px is not None and (crop_px % ALIGN_PX or not 0 < crop_px <= shards.side_px):
        raise ShardError(
            f"a crop of {crop_px} pixels does not fit samples of {shards.side_px}; use a multiple of 6 up to that."
        )
