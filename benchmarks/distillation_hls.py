"""HLS chips of 63 places as labelled sub-chips, for :mod:`benchmarks.distillation`: every split goes by place."""

import json
from pathlib import Path

import numpy as np
import rasterio
import torch

from bandloom.model.statistics import Statistics
from bandloom.rasters.values import dn_to_reflectance
from bandloom.sensors import Sensor, get_sensor

SIDE_PX, SHARE, MOST = 32, 0.5, 60  # pixels of 30 m; of one class; of a class and place
SLOTS = ("B01", "B02", "B03", "B04", "B8A", "B11", "B12")  # coastal, blue, green, red, nir, swir1, swir2


def read_hls(folder: Path) -> tuple[dict[int, torch.Tensor], np.ndarray, np.ndarray, Sensor, Statistics]:
    """Return sub-chips ``{30: (N, 7, 32, 32)}``, classes ``(N, 1)``, places ``(N,)``, the sensor and its statistics."""
    places = json.loads((folder / "places.json").read_text())
    sensor = get_sensor("hls-l30")
    chips, classes, blocks = [], [], []
    for name, place in places.items():
        with rasterio.open(folder / "images" / f"{name}.tif") as raster:
            pixels = raster.read(range(1, 8))
        with rasterio.open(folder / "worldcover" / f"{name}.tif") as raster:
            codes = raster.read(1)
        dn = np.where(pixels > -1000, np.clip(pixels.astype(np.int32) + 1000, 1, 65534), 0).astype(np.uint16)
        order = [SLOTS.index(slot) for group in sensor.groups for slot in group.slots]
        for y in range(0, codes.shape[0], SIDE_PX):
            for x in range(0, codes.shape[1], SIDE_PX):
                window = codes[y : y + SIDE_PX, x : x + SIDE_PX]
                kinds, counts = np.unique(window, return_counts=True)
                if counts.max() >= SHARE * window.size and kinds[counts.argmax()]:
                    chips.append(dn[order, y : y + SIDE_PX, x : x + SIDE_PX])
                    classes.append(int(kinds[counts.argmax()]))
                    blocks.append(int(place))
    kept = _few(np.array(classes), np.array(blocks))
    pixels = np.stack(chips)[kept]
    values = dn_to_reflectance(pixels)
    slots = [slot for group in sensor.groups for slot in group.slots]
    mean, std = (f(values, axis=(0, 2, 3)) for f in (np.nanmean, np.nanstd))
    statistics = Statistics(
        mean=dict(zip(slots, map(float, mean), strict=True)), std=dict(zip(slots, map(float, std), strict=True))
    )
    groups = {30: torch.from_numpy(pixels.astype(np.int32))}
    return groups, np.array(classes)[kept][:, None], np.array(blocks)[kept], sensor, statistics


def _few(classes: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Return at most a few sub-chips of a class and place, that no place drowns the others."""
    rng, kept = np.random.default_rng(0), []
    for kind, block in sorted({*zip(classes.tolist(), blocks.tolist(), strict=True)}):
        kept += rng.permutation(np.flatnonzero((classes == kind) & (blocks == block)))[:MOST].tolist()
    return np.sort(np.array(kept))
