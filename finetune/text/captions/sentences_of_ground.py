"""Generated captions: from class fractions of a mask, and from date, place and acquisition."""

import datetime as clock
import math
from collections.abc import Sequence

import numpy as np

from bandloom.finetune.text.captions.words import ClassWords
from bandloom.sensors import Sensor

MENTIONED = 0.01  # a class that covers less is not spoken of
_AMOUNTS = ((0.85, "almost only"), (0.5, "mostly"), (0.2, "partly"), (0.05, "some"), (MENTIONED, "a little"))


def mask_caption(shares: np.ndarray, words: Sequence[ClassWords], rng: np.random.Generator) -> str:
    """Return what a mask holds, largest first: "mostly forest, some pasture, a little river".

    Args:
        shares: share of the labelled ground by class, ``(K,)``.
        words: of the classes; one of each class's seen words is drawn.
        rng: draws them.
    """
    parts = []
    for index in np.argsort(-shares, kind="stable").tolist():
        amount = next((text for least, text in _AMOUNTS if shares[index] >= least), None)
        if amount is not None:
            parts.append(f"{amount} {words[index].seen[int(rng.integers(len(words[index].seen)))]}")
    return ", ".join(parts)


def metadata_caption(sensor: Sensor, time: clock.datetime | None, lon: float | None, lat: float | None) -> str:
    """Return when, where and with what an image was taken; what is not known is left out."""
    parts = [f"an image of {_sensor_name(sensor)}"]
    if lat is not None and lon is not None:
        parts.append(f"near {_degrees(lat, 'north', 'south')}, {_degrees(lon, 'east', 'west')}")
    if time is not None:
        parts.append(f"in {season(time, lat)}" if lat is not None else f"in {time:%B}")
    if time is not None and lat is not None and lon is not None:
        parts.append(f"under a {_sun_name(sun_elevation(time, lon, lat))}")
    return " ".join(parts)


def season(time: clock.datetime, lat: float) -> str:
    """Return the season at a latitude; near the equator the month, which has no winter there."""
    if abs(lat) < 15:
        return f"{time:%B} in the tropics"
    month = time.month + (0 if lat > 0 else 6)
    return ("winter", "spring", "summer", "autumn")[month % 12 // 3]


def sun_elevation(time: clock.datetime, lon: float, lat: float) -> float:
    """Return the sun's height in degrees, within about a degree (NOAA's general solar position calculations)."""
    utc = time.astimezone(clock.UTC) if time.tzinfo else time
    hour = utc.hour + utc.minute / 60
    turn = 2 * math.pi / 365 * (utc.timetuple().tm_yday - 1 + (hour - 12) / 24)
    equation_min = 229.18 * (
        0.000075
        + 0.001868 * math.cos(turn)
        - 0.032077 * math.sin(turn)
        - 0.014615 * math.cos(2 * turn)
        - 0.040849 * math.sin(2 * turn)
    )
    declination = (
        0.006918
        - 0.399912 * math.cos(turn)
        + 0.070257 * math.sin(turn)
        - 0.006758 * math.cos(2 * turn)
        + 0.000907 * math.sin(2 * turn)
        - 0.002697 * math.cos(3 * turn)
        + 0.00148 * math.sin(3 * turn)
    )
    angle = math.radians((hour * 60 + equation_min + 4 * lon) / 4 - 180)
    phi = math.radians(lat)
    height = math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(declination) * math.cos(angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, height))))


def _sun_name(elevation: float) -> str:
    return "low sun" if elevation < 30 else "high sun" if elevation > 55 else "middling sun"


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):.0f} degrees {positive if value >= 0 else negative}"


def _sensor_name(sensor: Sensor) -> str:
    return sensor.name.replace("-", " ").replace("sentinel2", "Sentinel-2").replace("landsat", "Landsat ")
