"""A map of measured values for the page: a continuous ramp of colours, with steps in the unit as its legend."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from bandloom.errors import SceneError
from bandloom.target import RAMP, Target
from bandloom.view.class_map import ClassMap, MapClass, pixel_at, place_of

STEPS = 10  # entries of the legend; each can be hidden
LEVELS = 250  # colours of the ramp
NOTHING = 255


class ValueMap(ClassMap):
    """A GeoTIFF of float32 values with the tag ``TARGET``: what `bandloom predict` makes of a regression."""

    dtypes = ("float32",)

    def codes(self, pixels: np.ndarray) -> np.ndarray:
        """Return the level of the ramp of each value, uint8; :data:`NOTHING` where there is none.

        What lies beyond the range of the ramp has the colour of its end.
        """
        share = (pixels - self.target.low) / self.span
        level = np.clip(np.nan_to_num(share) * LEVELS, 0, LEVELS - 1).astype(np.uint8)
        return np.where(np.isfinite(pixels), level, np.uint8(NOTHING))

    def keys(self, pixels: np.ndarray) -> np.ndarray:
        """Return the legend's entry of each value; :data:`NOTHING` where there is none."""
        codes = self.codes(pixels)
        return np.where(codes == NOTHING, codes, codes // (LEVELS // STEPS))

    def palette(self, shown: set[int] | None = None) -> np.ndarray:
        """Return ``(256, 4)`` uint8 colours of levels; steps that are not ``shown`` are clear (None: all are)."""
        table = np.zeros((256, 4), np.uint8)
        table[:LEVELS, :3], table[:LEVELS, 3] = ramp(LEVELS), 255
        for step in range(STEPS):
            if shown is not None and step not in shown:
                table[step * LEVELS // STEPS : (step + 1) * LEVELS // STEPS] = 0
        return table

    def at(self, longitude: float, latitude: float) -> dict[str, Any] | None:
        """Return the value at a place as text in the unit, with its colour; None outside."""
        where = place_of(longitude, latitude, self.crs, self.transform, self.shape)
        if where is None:
            return None
        value = pixel_at(self.path, *where)[:1]
        if not np.isfinite(value[0]):
            return {"value": NOTHING, "name": "no data", "colour": None}
        step = int(self.keys(value)[0])
        name = f"{float(value[0]):.4g} {self.target.unit}".strip()
        return {"value": step, "name": name, "colour": self.classes[step].colour}

    def alike(self) -> list[str]:
        """Return nothing: steps of a ramp are meant to be like their neighbours."""
        return []

    @property
    def span(self) -> float:
        """From the ramp's lower to its upper end, in the unit."""
        return max(self.target.high - self.target.low, 1e-30)

    def _read(self, source: Any) -> None:
        self.nodata = np.nan
        try:
            self.target = Target.model_validate_json(source.tags()["TARGET"])
        except (KeyError, ValueError) as cause:
            raise SceneError(f"{self.path} does not say what it measures; name a map of `bandloom predict`.") from cause
        counts = np.zeros(256, np.int64)
        for _, window in source.block_windows(1):
            counts += np.bincount(self.keys(source.read(1, window=window)).ravel(), minlength=256)
        pixel_ha = abs(source.transform.a * source.transform.e) / 1e4 if source.crs.is_projected else None
        edges = self.target.low + self.span * np.arange(STEPS + 1) / STEPS
        middle = ramp(LEVELS)[LEVELS // (2 * STEPS) :: LEVELS // STEPS]
        self.classes = [
            MapClass(
                step,
                self._step(edges, step),
                "#{:02x}{:02x}{:02x}".format(*middle[step].tolist()),
                int(counts[step]),
                None if pixel_ha is None else round(int(counts[step]) * pixel_ha, 2),
            )
            for step in range(STEPS)
        ]

    def _step(self, edges: np.ndarray, step: int) -> str:
        unit = f" {self.target.unit}" if self.target.unit else ""
        if step == 0:
            return f"below {edges[1]:.3g}{unit}"
        if step == STEPS - 1:
            return f"above {edges[-2]:.3g}{unit}"
        return f"{edges[step]:.3g} to {edges[step + 1]:.3g}{unit}"


def ramp(levels: int) -> np.ndarray:
    """Return the colours of the ramp from low to high, ``(levels, 3)`` uint8."""
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in RAMP], float)
    place = np.linspace(0, len(stops) - 1, levels)
    return (
        np.stack([np.interp(place, np.arange(len(stops)), stops[:, i]) for i in range(3)], 1).round().astype(np.uint8)
    )


def open_map(path: Path) -> ClassMap:
    """Open a map of classes or of values, whichever it is.

    Raises:
        SceneError: it is neither.
    """
    with contextlib.suppress(RasterioError), rasterio.open(path) as source:  # ClassMap says what is wrong
        if source.dtypes[0] in ValueMap.dtypes:
            return ValueMap(path)
    return ClassMap(path)
