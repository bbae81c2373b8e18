"""Scores on fewer bands than a model was trained on: the others are absent, nothing is retrained."""

from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.command_line.console import logger
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.row import Row
from bandloom.finetune.scores.scoring import Groups, Seen
from bandloom.rasters.values import NODATA
from bandloom.sensors import Sensor


class Shows(Protocol):
    """The part of a scorer that is used here."""

    def shown(
        self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int, seen: Seen | None = None
    ) -> Row:
        """Return the row of a model on a role, shown a part of each sample."""
        ...


SUBSETS = ("10m", "RGB")


def band_drops(scorer: Shows, model: TaskModel, data: TaskData, batch_size: int = 16) -> list[Row]:
    """Score a model on the test labels with the 10 m bands alone and with RGB alone, where the sensor has more."""
    if not model.encoder.knows_absent_bands:
        logger.info("not scored on fewer bands: this encoder reads all bands of its sensor or refuses")
        return []
    own = set(data.sensor.slots)
    names = [name for name in SUBSETS if own & set(BAND_SUBSETS[name]) and own - set(BAND_SUBSETS[name])]
    rows = []
    for name in names:
        seen = partial(without_bands, sensor=data.sensor, slots=BAND_SUBSETS[name])
        rows.append(replace(scorer.shown(name, model, data, TEST, batch_size, seen), kind="fewer bands"))
    return rows


def without_bands(groups: Groups, sensor: Sensor, slots: tuple[str, ...]) -> dict[int, np.ndarray]:
    """Return native groups with every band absent whose slot is not among ``slots``, at every stacked date."""
    kept = {}
    for group in sensor.groups:
        pixels = groups[group.gsd_m]
        there = np.array([slot in slots for slot in group.slots] * (len(pixels) // len(group.slots)))
        kept[group.gsd_m] = np.where(there[:, None, None], pixels, np.uint16(NODATA))
    return kept
