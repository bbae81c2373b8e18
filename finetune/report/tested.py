"""Test samples that a run keeps, so that another run's answers can be laid beside its own: ``tested.npz``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bandloom.files.output import new_output
from bandloom.finetune.model.task_model import split_dates
from bandloom.finetune.report.pictures import true_colour
from bandloom.finetune.scores.evaluation import Example
from bandloom.sensors import Sensor

TESTED = "tested.npz"


def write_tested(folder: Path, samples: Sequence[Example], sensor: Sensor) -> None:
    """Write ``keys`` and of each sample ``image N``, ``truth N`` and ``predicted N``; nothing where there are none.

    Args:
        folder: the run folder.
        samples: whole test samples; pixels without a test label have the truth 255.
        sensor: whose bands they hold; of two dates the later is shown, ``(H, W, 3)`` uint8.
    """
    if not samples:
        return
    arrays: dict[str, np.ndarray] = {"keys": np.array([sample.key for sample in samples])}
    for number, sample in enumerate(samples):
        arrays[f"image {number}"] = (255 * true_colour(_later(sample, sensor), sensor)).astype(np.uint8)
        arrays[f"truth {number}"] = sample.label.astype(np.uint8)
        arrays[f"predicted {number}"] = sample.predicted.astype(np.uint8)
    with new_output(folder / TESTED, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def _later(sample: Example, sensor: Sensor) -> dict[int, np.ndarray]:
    groups = dict(sample.groups)
    stacked = any(groups[group.gsd_m].shape[0] > len(group.bands) for group in sensor.groups if group.gsd_m in groups)
    return split_dates(groups)[1] if stacked else groups
