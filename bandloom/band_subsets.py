"""Band subsets (L2A, Landsat, 10 m, RGB) that models are trained and scored on, and samples reduced to one of them."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
from torch import Tensor

from bandloom.sensors import SENSORS, SLOTS, Sensor

BAND_SUBSETS: dict[str, tuple[str, ...]] = {
    "13": SLOTS,
    "L2A-12": SENSORS["sentinel2-l2a"].slots,
    "Landsat": SENSORS["landsat89-l2"].slots,
    "10m": ("B02", "B03", "B04", "B08"),  # THEOS has the same four
    "RGB": ("B02", "B03", "B04"),
}

Samples = TypeVar("Samples", np.ndarray, Tensor)


def take_slots(
    groups: Mapping[int, Samples], sensor: Sensor, slots: Iterable[str]
) -> tuple[dict[int, Samples], Sensor]:
    """Keep the bands of ``slots`` alone.

    Args:
        groups: digital numbers by gsd in metres, ``(..., C, H, W)``.
        sensor: whose groups they are.
        slots: names of slots; those that the sensor lacks are passed over.

    Returns:
        The smaller groups, and the sensor that has these bands only.

    Raises:
        SensorError: none of the slots is left.
    """
    wanted = set(slots)
    small = sensor.subset(band.name for band in sensor.bands if band.slot in wanted)
    kept = {}
    for group in sensor.groups:
        index = [i for i, slot in enumerate(group.slots) if slot in wanted]
        if index:
            kept[group.gsd_m] = groups[group.gsd_m][..., index, :, :]
    return kept, small
