"""What a finished model is worth on fewer bands than it was trained on: the others are absent, nothing is retrained."""

from dataclasses import replace

import numpy as np

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.splits import TEST
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.confusion import Row
from bandloom.finetune.scores.scoring import Groups, score_model
from bandloom.sensors import Sensor
from bandloom.values import NODATA

SUBSETS = ("10m", "RGB")


def band_drops(model: TaskModel, data: TaskData, batch_size: int = 16) -> list[Row]:
    """Score a model on the test labels with the 10 m bands alone and with RGB alone, where the sensor has more."""
    own = set(data.sensor.slots)
    names = [name for name in SUBSETS if own & set(BAND_SUBSETS[name]) and own - set(BAND_SUBSETS[name])]
    return [score_model(name, model, _Fewer.of(data, BAND_SUBSETS[name]), TEST, batch_size) for name in names]


def without_bands(groups: Groups, sensor: Sensor, slots: tuple[str, ...]) -> dict[int, np.ndarray]:
    """Return native groups with every band absent whose slot is not among ``slots``, at every stacked date."""
    kept = {}
    for group in sensor.groups:
        pixels = groups[group.gsd_m]
        there = np.array([slot in slots for slot in group.slots] * (len(pixels) // len(group.slots)))
        kept[group.gsd_m] = np.where(there[:, None, None], pixels, np.uint16(NODATA))
    return kept


class _Fewer(TaskData):
    """A view of labelled samples in which bands are absent; the labels stay."""

    slots: tuple[str, ...]
    whole: TaskData

    @classmethod
    def of(cls, data: TaskData, slots: tuple[str, ...]) -> "_Fewer":
        view = cls.__new__(cls)
        view.__dict__.update(data.__dict__ | {"counts": data.counts, "slots": slots, "whole": data})
        return view

    def labelled(self, index: int, role: int) -> Labelled | None:
        """Return a sample as the whole data has it, less its bands."""
        found = self.whole.labelled(index, role)
        return None if found is None else replace(found, groups=without_bands(found.groups, self.sensor, self.slots))
