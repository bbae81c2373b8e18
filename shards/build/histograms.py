"""Histograms of every measured value by band, merged by addition, for exact statistics.

A histogram ends at the largest value that was measured: a granule has some dozens of places with a histogram a band,
and of 65,536 values all but a quarter are never seen.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandloom.rasters.values import NODATA, OFFSET, SATURATED, SCALE
from bandloom.sensors import Sensor

BINS = 65536
QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
Histograms = dict[str, np.ndarray]  # slot -> (values up to the largest,) int64


def count_values(sensor: Sensor, groups: Mapping[int, np.ndarray]) -> Histograms:
    """Return the counts of one sample's values, ``{gsd_m: (C, H, W)}`` uint16; saturated ones are not counted."""
    histograms = {}
    for group in sensor.groups:
        for slot, band in zip(group.slots, groups[group.gsd_m], strict=True):
            counts = np.bincount(band.ravel())
            histograms[slot] = np.trim_zeros(counts[:SATURATED], "b") if len(counts) == BINS else counts
    return histograms


def merge(into: Histograms, other: Mapping[str, np.ndarray]) -> None:
    """Add ``other`` to ``into``."""
    for slot, counts in other.items():
        own = into.get(slot, np.zeros(0, np.int64))
        if len(own) < len(counts):
            own = np.concatenate([own, np.zeros(len(counts) - len(own), np.int64)])
        own[: len(counts)] += counts
        into[slot] = own


def statistics(histograms: Histograms) -> dict[str, dict[str, Any]]:
    """Return mean, standard deviation and quantiles a slot in reflectance, over the measured samples."""
    result: dict[str, dict[str, Any]] = {"mean": {}, "std": {}, "quantiles": {}, "count": {}}
    values = (np.arange(BINS) - OFFSET) / SCALE
    for slot in sorted(histograms):
        counts = np.zeros(BINS, np.int64)
        counts[: len(histograms[slot])] = histograms[slot]
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
