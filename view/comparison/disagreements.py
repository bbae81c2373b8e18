"""Test samples that two runs kept and answer differently: truth, both answers, and who is right where."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from bandloom.rasters.png import png
from bandloom.view.charts import COLOURS
from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.tested import Sample, answers_of, kept_samples, outcomes
from bandloom.view.records import Record
from bandloom.view.sections.parts import Fold, Picture, Section, table

MOST_MAPS, MOST_CHIPS, MOST_ROWS = 6, 24, 200
CHIP_PX = 96  # a small chip is shown this large
GAP_PX = 4
ALIKE = "They answer alike."
SAME = "#dfe4ea"
LEGEND = {  # colour and words by outcome
    "only 1": (COLOURS[0], "only 1 is right"),
    "only 2": (COLOURS[1], "only 2 is right"),
    "neither": ("#404650", "neither is right, and they differ"),
    "unlabelled": ("#a3adba", "they differ, no test label"),
}


def sections(group: Compared) -> list[Section]:
    """Return where answers differ, of every run beside the first; empty where they kept no test samples."""
    made: list[Section] = []
    for record, name in zip(group.records[1:], group.names[1:], strict=True):
        made += _sections(group.records[0], record, (group.names[0], name))
    return made


def _sections(first: Record, second: Record, names: tuple[str, str]) -> list[Section]:
    if first.scores is None or second.scores is None or first.scores.label_set != second.scores.label_set:
        return []
    title = "Where they disagree"
    one, other = kept_samples(first.path), kept_samples(second.path)
    shared = [key for key in one if key in other]
    if not shared:
        return []
    if one[shared[0]][1].ndim:
        return [_of_pixels(title, {key: (one[key], other[key][2]) for key in shared}, first.scores.label_set, names)]
    return [_of_chips(title, first, second, names, {key: one[key][0] for key in shared})]


def _of_pixels(
    title: str, samples: Mapping[str, tuple[Sample, np.ndarray]], label_set: Mapping[str, Any], names: tuple[str, str]
) -> Section:
    told = {key: outcomes(kept[1], kept[2], other) for key, (kept, other) in samples.items()}
    total = {name: sum(int(masks[name].sum()) for masks in told.values()) for name in next(iter(told.values()))}
    labels = sum(count for name, count in total.items() if name != "unlabelled")
    order = sorted(told, key=lambda key: -_differing(told[key]))[:MOST_MAPS]
    shown = [key for key in order if _differing(told[key])]
    pictures = [
        Picture(key, _row(*samples[key], told[key], label_set), f"{key}: {_counts(told[key])}", pixels=True)
        for key in shown
    ]
    shares = [_share(total[name], labels) for name in ("both", "only 1", "only 2")]
    note = (
        f"{len(samples)} test samples that both kept, {labels:,} labels: both are right on {shares[0]}, only {names[0]}"
        f" on {shares[1]}, only {names[1]} on {shares[2]}. The {len(shown)} that differ most; each row: the ground, the"
        " truth, 1, 2, and who is right."
    )
    alike = [] if shown else [ALIKE]
    return Section(title, note, charts=[] if alike else [_legend()], pictures=pictures, items=alike)


def _of_chips(
    title: str, first: Record, second: Record, names: tuple[str, str], images: Mapping[str, np.ndarray]
) -> Section:
    one, other = answers_of(first.path), answers_of(second.path)
    shared = [key for key in one if key in other and one[key][0] == other[key][0]]
    rows = [[key, *one[key], other[key][1]] for key in shared if one[key][1] != other[key][1]]
    only_1, only_2 = (sum(row[1] == row[place] for row in rows) for place in (2, 3))
    note = (
        f"{len(rows):,} of {len(shared):,} test chips that both answered get another class: only {names[0]} is right on"
        f" {only_1:,}, only {names[1]} on {only_2:,}, neither on {len(rows) - only_1 - only_2:,}."
    )
    sheet = [
        Picture(row[0], _enlarged(images[row[0]]), f"{row[1]}; 1: {row[2]}; 2: {row[3]}")
        for row in rows
        if row[0] in images
    ][:MOST_CHIPS]
    head = ("chip", "truth", *names)
    folds = [Fold(f"The {min(len(rows), MOST_ROWS):,} chips by name", table(head, rows[:MOST_ROWS]))] if rows else []
    return Section(title, note, sheet=sheet, folds=folds, items=[] if rows else [ALIKE])


def _row(kept: Sample, other: np.ndarray, masks: Mapping[str, np.ndarray], label_set: Mapping[str, Any]) -> str:
    """Return the panels of a sample beside each other: ground, truth, both answers, and who is right."""
    image, truth, one = kept
    palette = np.full((256, 3), 255, np.uint8)
    for index, land_class in enumerate(label_set["classes"]):
        palette[index] = _rgb(land_class["colour"])
    where = np.full((*truth.shape, 3), _rgb(SAME), np.uint8)
    for outcome, (colour, _) in LEGEND.items():
        where[masks[outcome]] = _rgb(colour)
    gap = np.zeros((image.shape[0], GAP_PX, 4), np.uint8)
    row: list[np.ndarray] = []
    for panel in (image, palette[truth], palette[one], palette[other], where):
        row += [_opaque(panel), gap]
    return base64.b64encode(png(np.concatenate(row[:-1], axis=1))).decode()


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _opaque(pixels: np.ndarray) -> np.ndarray:
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


def _enlarged(image: np.ndarray) -> str:
    times = max(1, CHIP_PX // max(image.shape[:2]))
    return base64.b64encode(png(_opaque(image.repeat(times, axis=0).repeat(times, axis=1)))).decode()


def _differing(masks: Mapping[str, np.ndarray]) -> int:
    return sum(int(masks[name].sum()) for name in ("only 1", "only 2", "neither"))


def _counts(masks: Mapping[str, np.ndarray]) -> str:
    labels = sum(int(mask.sum()) for name, mask in masks.items() if name != "unlabelled")
    return ", ".join(f"only {n} is right on {_share(int(masks[f'only {n}'].sum()), labels)}" for n in (1, 2))


def _share(part: int, labels: int) -> str:
    return f"{part / labels:.1%}" if labels else "none"


def _legend() -> str:
    shown = [(SAME, "the same answer"), *LEGEND.values()]
    keys = "".join(f'<span><i style="background:{colour}"></i>{words}</span>' for colour, words in shown)
    return f'<p class="legend wide">{keys}</p>'
