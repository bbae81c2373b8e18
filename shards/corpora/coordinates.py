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
_SINCE = re.compile(
    r"(?P<unit>\w+) since (?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>\.\d{1,9})?0*)?)?"
    r" ?(?:Z|UTC|[+-]00:?00)?"
)
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")  # from 1582 on these are one
_YEARS = range(1700, 2200)  # that datetime64[ns] holds
_FAR_NS = 200 * 365 * _UNITS_NS["days"]
_NOT_A_TIME = np.iinfo(np.int64).min


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
    told = info.attributes
    match = _SINCE.fullmatch(str(told.get("units", "")))
    unit_ns = _UNITS_NS.get(match["unit"]) if match else None
    plain = stored.dtype.kind in "iuf" and told.get("calendar", "standard") in _CALENDARS
    if match is None or unit_ns is None or not plain or int(match["year"]) not in _YEARS:
        raise SceneError(
            f"{where} states times in {told.get('units')!r}; expected UNIT since DATE of UTC: fetch it again."
        )
    absent = stored == told.get("_FillValue", _NOT_A_TIME)
    absent |= stored == _NOT_A_TIME if stored.dtype.kind == "i" else ~np.isfinite(stored)
    counts = np.where(absent, 0, stored)
    if counts.size and np.abs(counts.astype(np.float64)).max() * unit_ns > _FAR_NS:
        raise SceneError(f"{where} states a time {counts.max()} {told['units']}, which is none; fetch it again.")
    whole = counts if stored.dtype.kind == "f" else counts.astype(np.int64)
    return np.where(absent, np.datetime64("NaT", "ns"), _base(where, match) + (whole * unit_ns).astype("m8[ns]"))


def _base(where: str, match: re.Match[str]) -> np.datetime64:
    day = f"{match['year']}-{int(match['month']):02d}-{int(match['day']):02d}"
    time = f"{int(match['hour'] or 0):02d}:{match['minute'] or '00'}:{match['second'] or '00'}{match['part'] or ''}"
    try:
        return np.datetime64(f"{day}T{time}", "ns")
    except ValueError as cause:
        raise SceneError(f"{where} states times since {day}T{time}, which is no time; fetch it again.") from cause


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
