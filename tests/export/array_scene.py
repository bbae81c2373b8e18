"""A scene held in arrays, with the interface that every scene reader has."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

from bandloom.sensors import Sensor


@dataclass
class ArrayScene:
    """Native groups of a whole number of 60 m cells."""

    sensor: Sensor
    groups: dict[int, np.ndarray]
    height_m: float
    width_m: float
    name: str = "arrays"
    crs: CRS = field(default_factory=lambda: CRS.from_epsg(32647))
    transform: Affine = field(default_factory=lambda: from_origin(600000, 1500000, 10, 10))
    datetime: None = None
    footprint: tuple[float, float, float, float] = (99.9, 13.4, 100.1, 13.6)
    provenance: dict[str, Any] = field(default_factory=dict)

    def read(self, window_m):
        x, y, width, height = window_m
        found = {}
        for gsd, dn in self.groups.items():
            x0, y0, w, h = (round(side / gsd) for side in (x, y, width, height))
            assert all(side % 60 == 0 for side in window_m)
            out = np.zeros((dn.shape[0], h, w), np.uint16)
            ys, xs = slice(max(y0, 0), min(y0 + h, dn.shape[1])), slice(max(x0, 0), min(x0 + w, dn.shape[2]))
            if ys.start < ys.stop and xs.start < xs.stop:
                out[:, ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0] = dn[:, ys, xs]
            found[gsd] = out
        return found

    def cloud(self, window_m):
        return None

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def random_scene(sensor: Sensor, cells: tuple[int, int], seed: int, *, holes: int = 0, ragged_m: int = 0) -> ArrayScene:
    """Draw noise with rectangular holes of no data; the scene lacks ``ragged_m`` of its last cells."""
    rng = np.random.default_rng(seed)
    groups = {}
    height_m, width_m = cells[0] * 60 - ragged_m, cells[1] * 60 - ragged_m
    cuts = [(rng.random(2), rng.random(2) * 0.6) for _ in range(holes)]
    for group in sensor.groups:
        h, w = cells[0] * 60 // group.gsd_m, cells[1] * 60 // group.gsd_m
        dn = rng.integers(1000, 6000, (len(group.bands), h, w)).astype(np.uint16)
        for (top, left), (tall, wide) in cuts:
            dn[:, int(top * h) : int((top + tall) * h), int(left * w) : int((left + wide) * w)] = 0
        dn[:, int(np.ceil(height_m / group.gsd_m)) :] = 0
        dn[:, :, int(np.ceil(width_m / group.gsd_m)) :] = 0
        groups[group.gsd_m] = dn
    return ArrayScene(sensor, groups, height_m, width_m)
