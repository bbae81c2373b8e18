"""Statistics of a split from the histograms beside its tars, exact without reading a pixel again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.sensors import Sensor
from bandloom.shards.build.geography import SPLITS
from bandloom.shards.build.histograms import Histograms, count_values, merge, statistics
from bandloom.shards.store.codec import decode_into
from bandloom.shards.store.index import Entry


def split_statistics(
    folder: Path, sensors: Mapping[str, Any], entries: Sequence[Entry], split: str = SPLITS[0]
) -> dict[str, Any]:
    """Return mean, std, quantiles and counts a slot over a split (over every used sample when the split is empty).

    Args:
        folder: where the tars and their histograms lie.
        sensors: the sensors' records by name.
        entries: all samples with their splits.
        split: which to take.
    """
    used = [entry for entry in entries if entry.split == split]
    name = split if used else "all"
    used = used or [entry for entry in entries if entry.split in SPLITS]
    wanted = {(entry.shard, entry.cells) for entry in used}
    keys = {entry.key for entry in used}
    merged: Histograms = {}
    for shard in sorted({shard for shard, _ in wanted}):
        with np.load(folder / f"{shard.removesuffix('.tar')}.histograms.npz") as counts:
            for label in counts.files:
                cells, slot = label.split("|")
                if (shard, tuple(cells.split(","))) in wanted:
                    merge(merged, {slot: counts[label]})
    for entry in entries:  # duplicates share their cells' histograms: take them out again
        if (entry.shard, entry.cells) in wanted and entry.key not in keys:
            sensor = Sensor.from_dict(sensors[entry.sensor])
            taken = count_values(sensor, _groups(folder, entry, sensor))
            merge(merged, {slot: -counts for slot, counts in taken.items()})
    return statistics(merged) | {"split": name}


def _groups(folder: Path, entry: Entry, sensor: Sensor) -> dict[int, np.ndarray]:
    groups = {}
    with (folder / entry.shard).open("rb") as tar:
        for group in sensor.groups:
            side = entry.side_px * 10 // group.gsd_m
            groups[group.gsd_m] = np.empty((len(group.bands), side, side), np.uint16)
            offset, size = entry.members[f"{group.name}.b2nd"]
            tar.seek(offset)
            decode_into(tar.read(size), groups[group.gsd_m], entry.key)
    return groups
