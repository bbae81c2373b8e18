"""What a classifier's first head is fitted on: features of chips as they are, and of some that lost bands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.command_line.console import track
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.model.chip_parts import PARTS
from bandloom.finetune.model.heads import ClassifyHead
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.band_drops import without_bands
from bandloom.finetune.training.perturb import OTHER_SENSORS
from bandloom.sensors import Sensor

FEWER_CHIPS = 250  # that lose bands, once for each of the other sensors
# at least, of all of those together, where whole chips have 1; chosen on validation (docs/decisions/head.md)
FEWER_WEIGHT = 0.1
FOLDS = 5


@dataclass(frozen=True)
class ChipRows:
    """What chips are told apart by: pooled tokens ``(N, D)``, each part's features ``(N, F)``, and labels ``(N,)``.

    Args:
        tokens: pooled.
        parts: features by part.
        labels: class indices or values.
        chips: number of each chip ``(N,)``; needed where there are ``fewer``.
        fewer: some of these chips again, with fewer bands.
        weight: of all of ``fewer`` together, where these have 1.
    """

    tokens: np.ndarray
    parts: Mapping[str, np.ndarray]
    labels: np.ndarray
    chips: np.ndarray | None = None
    fewer: "ChipRows | None" = None
    weight: float = FEWER_WEIGHT

    def stacked(self, of: Callable[["ChipRows"], np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the rows of something with those of ``fewer`` below, and the weight of each, None where all are 1."""
        if self.fewer is None:
            return of(self), None
        own, less = of(self), of(self.fewer)
        weights = np.repeat([1.0, self.weight * len(own) / len(less)], [len(own), len(less)])
        return np.concatenate([own, less]), weights

    def of(self, kept: np.ndarray) -> "ChipRows":
        """Return those of the whole chips for which ``kept`` ``(N,)`` is true."""
        return ChipRows(self.tokens[kept], {name: rows[kept] for name, rows in self.parts.items()}, self.labels[kept])

    @property
    def folds(self) -> np.ndarray:
        """Interleaved folds of all rows; a chip that lost bands lies in its own chip's."""
        places = np.arange(len(self.labels))
        if self.fewer is not None and self.chips is not None and self.fewer.chips is not None:
            places = np.concatenate([places, np.searchsorted(self.chips, self.fewer.chips)])
        return places % FOLDS


@torch.no_grad()
def chip_rows(
    model: TaskModel,
    head: ClassifyHead,
    data: TaskData,
    role: int,
    most: int,
    subsets: Sequence[tuple[str, ...] | None] = (None,),
) -> ChipRows:
    """Return at most ``most`` chips of a role, once for each subset of slots that they keep; None: with all bands."""
    chips, names = data.some(role, most), PARTS if head.parts is not None else ()
    tokens, labels, numbers = [], [], []
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for slots in subsets:
        kept = None if slots is None else partial(without_bands, sensor=data.sensor, slots=slots)
        for sample in track(chips.samples(role), "chips of the first head", total=len(chips.indices)):
            pixels = sample.groups if kept is None else kept(sample.groups)
            groups = {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in pixels.items()}
            tokens.append(head.pool(model.chip_tokens(groups))[0].double().numpy())
            bands = model.native_bands(groups)
            for name in names:
                features = head.parts.features(name, bands) if head.parts is not None else bands[0].values
                parts[name].append(features[0].double().numpy())
            labels.append(sample.label)
        numbers += chips.indices_of(role).tolist()
    rows = {name: np.stack(column) for name, column in parts.items()}
    return ChipRows(np.stack(tokens), rows, np.array(labels), np.array(numbers))


def training_rows(model: TaskModel, head: ClassifyHead, data: TaskData, most: int, weight: float) -> ChipRows:
    """Return at most ``most`` training chips, and some of them with the bands of other sensors alone.

    Without a ``weight`` there are none of those, and an encoder that refuses absent bands sees none either.
    """
    chips, subsets = data.some(TRAIN, most), smaller_subsets(data.sensor)
    own = chip_rows(model, head, chips, TRAIN, most)
    if not weight or not subsets or not model.encoder.knows_absent_bands:
        return own
    fewer = chip_rows(model, head, chips, TRAIN, FEWER_CHIPS, subsets)
    return ChipRows(own.tokens, own.parts, own.labels, own.chips, fewer, max(FEWER_WEIGHT, weight))


def smaller_subsets(sensor: Sensor) -> list[tuple[str, ...]]:
    """Return the slots that a sensor keeps of each other sensor's, where it has more, each once."""
    own = set(sensor.slots)
    kept = [tuple(slot for slot in BAND_SUBSETS[name] if slot in own) for name in OTHER_SENSORS]
    return list(dict.fromkeys(slots for slots in kept if slots and len(slots) < len(own)))
