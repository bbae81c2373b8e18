"""Golden answers: what a family's authors' own code says of real windows, stored beside the weights as ``golden.npz``.

Of each window NAME the file holds ``NAME_dn`` ``(H, W, C)``, digital numbers without an offset on the encoder's own
grid, bands in the record's order; ``NAME_patch``; ``NAME_month`` where the family has one; and ``NAME_tokens``
``(T, D)``, T row by row.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bandloom.errors import CheckpointError
from bandloom.public_encoders.load import read_public
from bandloom.rasters.values import OFFSET
from bandloom.sensors import SENSORS, Reflectance, Sensor

GOLDEN = "golden.npz"
ALLOWED = 1e-4


@dataclass(frozen=True)
class Answer:
    """How far the encoder's tokens of one window are from its authors'."""

    name: str
    patch_px: int
    tokens: int
    max_abs: float

    @property
    def passes(self) -> bool:
        """Whether it is near enough."""
        return self.max_abs <= ALLOWED


def check_golden(folder: Path) -> list[Answer]:
    """Compare the encoder in ``folder`` with the golden answers beside it; an empty list where there are none.

    Raises:
        CheckpointError: the folder's encoder or its answers cannot be read.
    """
    path = folder / GOLDEN
    if not path.is_file():
        return []
    try:
        with np.load(path) as held:
            arrays = {name: held[name] for name in held.files}
        names = [name.removesuffix("_tokens") for name in arrays if name.endswith("_tokens")]
        return [_compared(folder, name, arrays) for name in names]
    except (OSError, ValueError, KeyError) as cause:
        raise CheckpointError(f"the golden answers {path} cannot be read ({cause!r}); fetch them again.") from cause


@torch.no_grad()
def _compared(folder: Path, name: str, arrays: dict[str, np.ndarray]) -> Answer:
    month = arrays.get(f"{name}_month")
    patch_px = int(arrays[f"{name}_patch"])
    encoder = read_public(folder, patch_px, None if month is None else int(month)).eval()
    bands = encoder.family.bands
    sensor = native_sensor(encoder.family.level, bands, encoder.config.gsd_m)
    groups = native_groups(arrays[f"{name}_dn"], bands, encoder.config.gsd_m, sensor)
    expected = arrays[f"{name}_tokens"]
    answer = encoder.forward_features(groups, sensor)[0].numpy()
    return Answer(name, patch_px, len(expected), float(np.abs(answer - expected).max()))


def native_sensor(level: Reflectance, bands: tuple[str, ...], gsd_m: int) -> Sensor:
    """Return a sensor of these bands alone, none of them finer than the pixels of windows.

    Args:
        level: its product level.
        bands: slots.
        gsd_m: metres a pixel of the windows.

    Raises:
        CheckpointError: no shipped sensor fits.
    """
    for sensor in SENSORS.values():
        if sensor.reflectance == level and set(bands) <= set(sensor.slots):
            own = sensor.subset([band.name for band in sensor.bands if band.slot in bands])
            if all(group.gsd_m % gsd_m == 0 for group in own.groups):
                return own
    raise CheckpointError(f"no sensor has {', '.join(bands)} on pixels of {gsd_m} m or coarser ones.")


def native_groups(pixels: np.ndarray, bands: tuple[str, ...], gsd_m: int, sensor: Sensor) -> dict[int, torch.Tensor]:
    """Take every band's own samples back from pixels on one grid to which coarser ones were repeated.

    Args:
        pixels: ``(H, W, C)``, digital numbers without an offset.
        bands: slots of the channels.
        gsd_m: metres a pixel.
        sensor: whose groups are wanted.

    Returns:
        ``{gsd_m: (1, C, H, W)}`` with the offset of the value convention.
    """
    planes = torch.from_numpy(pixels.astype(np.int32)).permute(2, 0, 1) + OFFSET  # (C, H, W)
    steps = {group.gsd_m: max(group.gsd_m // gsd_m, 1) for group in sensor.groups}
    return {
        group.gsd_m: torch.stack(
            [planes[bands.index(slot), :: steps[group.gsd_m], :: steps[group.gsd_m]] for slot in group.slots]
        )[None]
        for group in sensor.groups
    }
