"""Coordinates of a corpus's Zarr arrays: names of bands, times, and the corner that pixel coordinates begin at."""

import datetime as dt
import re
from typing import Any

import numpy as np

from bandloom.errors import SceneError
from bandloom.sensors import SLOTS
from bandloom.shards.corpora.zarr_v2 import ArrayInfo
from bandloom.shards.scenes.bands import sentinel2_name

PIXEL_M = 10
_OFF = 0.01  # of a pixel that steps may differ by
_UNITS_NS = {
    "days": 86_400_000_000_000,
    "hours": 3_600_000_000_000,
    "minutes": 60_000_000_000,
    "seconds": 1_000_000_000,
    "milliseconds": 1_000_000,
    "microseconds": 1_000,
    "nanoseconds": 1,
}
_SINCE = re.compile(r"(\w+) since (\d{4}-\d{1,2}-\d{1,2})(?:[T ](\d{1,2}:\d{2}:\d{2}))?")


def band_names(where: str, stored: np.ndarray) -> list[str]:
    """Return the Sentinel-2 bands that a ``band`` coordinate names.

    Raises:
        SceneError: one is no band, or they are named twice.
    """
    names = [sentinel2_name(_text(each)) for each in stored.ravel()]
    if None in names or len(set(names)) < len(names) or not set(names) <= set(SLOTS):
        told = ", ".join(_text(each) for each in stored.ravel()[:16])
        raise SceneError(f"{where} names its bands {told}; expected B01, B02, ... each once: fetch it again.")
    return [name for name in names if name]


def times(where: str, stored: np.ndarray, info: ArrayInfo) -> np.ndarray:
    """Return times as datetime64[ns], decoded as CF conventions write them.

    Raises:
        SceneError: the unit is not known.
    """
    if stored.dtype.kind == "M":
        return stored.astype("datetime64[ns]")
    match = _SINCE.match(str(info.attributes.get("units", "")))
    if match is None or match[1] not in _UNITS_NS or stored.dtype.kind not in "iuf":
        raise SceneError(
            f"{where} states times in {info.attributes.get('units')!r}; expected UNIT since DATE: fetch it again."
        )
    base = np.datetime64(f"{match[2]}T{match[3] or '00:00:00'}", "ns")
    return base + (stored * _UNITS_NS[match[1]]).astype("int64").astype("timedelta64[ns]")


def as_datetime(time: np.datetime64) -> dt.datetime | None:
    """Return a time to the second, UTC; None for no time."""
    if np.isnat(time):
        return None
    return dt.datetime.fromtimestamp(int(time.astype("datetime64[s]").astype(np.int64)), dt.UTC)


def corner_of(where: str, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return easting and northing of the upper-left corner of pixels whose centres are ``x`` and ``y``.

    Raises:
        SceneError: they are not 10 m apart from west to east and from north to south.
    """
    steps = (np.diff(x.astype(np.float64)), -np.diff(y.astype(np.float64)))
    if any(not step.size or not (np.abs(step - PIXEL_M) <= PIXEL_M * _OFF).all() for step in steps):
        raise SceneError(f"{where} has coordinates that are not 10 m apart, east and south; leave it out.")
    return float(x[0]) - PIXEL_M / 2, float(y[0]) + PIXEL_M / 2


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
