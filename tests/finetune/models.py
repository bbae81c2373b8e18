"""Small real models and chips for the tests of this room."""

import numpy as np
import torch

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import SLOTS, Sensor, get_sensor
from bandloom.tasks import TaskName

LABELS = LabelSet("three", (LabelClass(10, "water", "#0000ff"), LabelClass(20, "forest"), LabelClass(30, "field")))
S2 = get_sensor("sentinel2-l1c")


def encoder(slots: tuple[str, ...] = SLOTS, **changes: int | str) -> Encoder:
    torch.manual_seed(0)
    statistics = Statistics(mean=dict.fromkeys(slots, 0.2), std=dict.fromkeys(slots, 0.1))
    return Encoder(EncoderConfig(**({"embed_dim": 32, "depth": 2, "num_heads": 2} | changes)), statistics)


def task_model(task: TaskName = "segment", sensor: Sensor = S2, chip_px: int = 24, **changes: int | str) -> TaskModel:
    return TaskModel(encoder(**changes), sensor, LABELS, task, chip_px)


def chips(sensor: Sensor = S2, batch: int = 2, side_m: int = 240, seed: int = 0) -> dict[int, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        group.gsd_m: torch.from_numpy(
            rng.integers(1000, 6000, (batch, len(group.bands), side_m // group.gsd_m, side_m // group.gsd_m))
        ).float()
        for group in sensor.groups
    }
