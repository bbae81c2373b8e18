"""Baselines of change detection: classify each date and compare, or classify the pair of spectra."""

import time

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.command_line.console import track
from bandloom.finetune.baselines.classifiers import forest
from bandloom.finetune.data.change import ChangeData, changed
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.model.task_model import split_dates
from bandloom.finetune.scores.confusion import ConfusionRow, block_confusions
from bandloom.run_state.pulse import alive

FIT_PIXELS = 20_000


def pair_bands(sample: Labelled, data: TaskData) -> np.ndarray:
    """Return the earlier date's bands and their differences as reflectance, ``(2 C, H, W)``."""
    one, two = (pixel_bands(groups, data.sensor) for groups in split_dates(sample.groups))
    return np.concatenate([one, two - one])


def post_classification(name: str, data: TaskData, seed: int) -> ConfusionRow:
    """Map the land cover of each date with one pixel forest; ground has changed where the two maps differ.

    The oldest way there is (Singh 1989): its errors are those of both maps together.
    """
    if not isinstance(data, ChangeData) or data.labels != "classes":
        raise TypeError("post-classification comparison needs the classes of both dates")
    start = time.monotonic()
    spectra, classes = training_pixels(data, seed)
    classifier = forest(seed)
    alive(lambda: classifier.fit(spectra, classes), f"fitting {name}")
    total: dict[int, np.ndarray] = {}
    for sample in track(data.samples(TEST), f"scoring {name}", total=len(data.indices_of(TEST))):
        known = sample.label != IGNORE_INDEX
        maps = [
            classifier.predict(pixel_bands(groups, data.sensor)[:, known].T) for groups in split_dates(sample.groups)
        ]
        predicted = np.full(sample.label.shape, IGNORE_INDEX, np.uint8)
        predicted[known] = changed(*(codes.astype(np.uint8) for codes in maps))
        for block, matrix in block_confusions(sample.label, predicted, sample.blocks, 2).items():
            total[block] = total.get(block, 0) + matrix
    return ConfusionRow(
        name=name,
        kind="classic",
        seeds=(seed,),
        confusions=total,
        fitted_on=len(classes),
        seconds=time.monotonic() - start,
    )


def knows_both_dates(data: TaskData) -> bool:
    """Tell whether labels give the classes of both dates, rather than a mask of what changed."""
    return isinstance(data, ChangeData) and data.labels == "classes"


def training_pixels(data: ChangeData, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return spectra ``(N, C)`` and land-cover classes ``(N,)`` of training pixels, from both dates."""
    rng = np.random.default_rng(seed)
    indices = data.indices_of(TRAIN)
    each = max(1, FIT_PIXELS // (2 * max(1, len(indices))))
    spectra, classes = [], []
    for index in track(indices.tolist(), "pixels of both dates"):
        sample = data.labelled(index, TRAIN)
        if sample is None:
            continue
        known = np.flatnonzero(sample.label != IGNORE_INDEX)
        picks = rng.choice(known, min(each, len(known)), replace=False)
        for groups, place in zip(split_dates(sample.groups), (index, data.later[index]), strict=True):
            bands = pixel_bands(groups, data.sensor)
            spectra.append(bands.reshape(len(bands), -1)[:, picks].T)
            classes.append(data.shards.read(place).label.ravel()[picks])
    return np.concatenate(spectra), np.concatenate(classes)
