"""Several crops of a sample for one decoding: where each comes in the order, and those that wait for their turn.

A decoded sample gives several crops, which come far apart: the sequence of samples is cut into spans of some batches,
and each span is gone through once for every crop. A sample keeps its slot in the batch, and with it its rank, but meets
others each time. Which crop comes where depends on seed, epoch and position alone. What is held only saves decoding: a
crop that is not held, as after a resume, is decoded again.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

HELD_BYTES = 2**30  # of all ranks together
FEWEST_BATCHES, MOST_BATCHES = 4, 64  # of a span; half of it, and one more, lie between two crops of a sample


def span_of(batch_bytes: int) -> int:
    """Return how many batches a span holds, an even number, so that what waits needs no more than 1 GiB.

    Args:
        batch_bytes: that wait for their turn after one batch.
    """
    fitting = HELD_BYTES // max(1, batch_bytes)
    return min(MOST_BATCHES, max(FEWEST_BATCHES, fitting // 2 * 2))


def sample_and_crop(position: int, batch: int, crops: int, span: int, together: int = 1) -> tuple[int, int]:
    """Return which sample of the sequence, and which crop of it, comes at a position.

    Args:
        position: counted over all crops of all samples.
        batch: samples of a batch; slots keep to themselves.
        crops: crops a sample.
        span: batches of a span, an even number.
        together: neighbouring slots that move alike.
    """
    number, slot = divmod(position, batch)
    turn, rest = divmod(number, crops * span)
    crop, place = divmod(rest, span)
    half, inside = divmod(place, span // 2)
    inside = (inside - crop * (1 + slot // together)) % (span // 2)  # another company every time
    return (turn * span + half * (span // 2) + inside) * batch + slot, crop


@dataclass(frozen=True)
class HeldCrop:
    """A crop that was cut when its sample was decoded."""

    groups: dict[int, np.ndarray]  # {gsd_m: (C, H_g, W_g)} uint16
    label: np.ndarray | None  # (H, W) uint8
    corner: tuple[int, int]


class HeldCrops:
    """Crops that wait for their turn; the oldest go when there are too many."""

    def __init__(self, most: int) -> None:
        """Hold at most ``most`` crops."""
        self._most = most
        self._held: OrderedDict[tuple[int, int, int], HeldCrop] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, index: int, epoch: int, crop: int, held: HeldCrop) -> None:
        """Keep crop number ``crop`` of a sample and epoch."""
        with self._lock:
            self._held[index, epoch, crop] = held
            while len(self._held) > self._most:
                self._held.popitem(last=False)

    def take(self, index: int, epoch: int, crop: int) -> HeldCrop | None:
        """Return a crop and hold it no longer; None where it is not held."""
        with self._lock:
            return self._held.pop((index, epoch, crop), None)

    def __len__(self) -> int:
        return len(self._held)
