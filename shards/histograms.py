"""Exact statistics: one histogram of all 65,536 values a band, merged by addition."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandloom.sensors import Sensor
from bandloom.values import NODATA, OFFSET, SATURATED, SCALE

BINS = 65536
QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
Histograms = dict[str, np.ndarray]  # slot -> (65536,) int64


def count_values(sensor: Sensor, groups: Mapping[int, np.ndarray]) -> Histograms:
    """Return the counts of one sample's values, ``{gsd_m: (C, H, W)}`` uint16, up to each band's largest alone."""
    return {slot: np.bincount(band.ravel()) for group in sensor.groups
            for slot, band in zip(group.slots, groups[group.gsd_m], strict=True)}  # fmt: skip


def merge(into: Histograms, other: Mapping[str, np.ndarray]) -> None:
    """Add ``other``, whose counts may end early, to ``into``."""
    for slot, counts in other.items():
        into.setdefault(slot, np.zeros(BINS, np.int64))[: len(counts)] += counts


def statistics(histograms: Histograms) -> dict[str, dict[str, Any]]:
    """Return mean, standard deviation and quantiles a slot in reflectance, over the measured samples."""
    result: dict[str, dict[str, Any]] = {"mean": {}, "std": {}, "quantiles": {}, "count": {}}
    values = (np.arange(BINS) - OFFSET) / SCALE
    for slot in sorted(histograms):
        counts = histograms[slot].copy()
        counts[[NODATA, SATURATED]] = 0
        total = int(counts.sum())
        if not total:
            continue
        mean = float((counts * values).sum() / total)
        below = counts.cumsum()
        result["mean"][slot] = mean
        result["std"][slot] = float(np.sqrt((counts * (values - mean) ** 2).sum() / total))
        at = {str(q): float(values[np.searchsorted(below, q * total)]) for q in QUANTILES}
        result["quantiles"][slot] = at
        result["count"][slot] = total
    return result
