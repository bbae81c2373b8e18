"""Nearest slot: the band that stands in for one that a sensor lacks, where its user asked for that."""

from bandloom.errors import CheckpointError
from bandloom.sensors import SENSORS, Sensor

MOST_NM = 200.0  # further away another part of the spectrum begins: no visible band stands in for SWIR


def nearest_slots(wanted: tuple[str, ...], sensor: Sensor) -> dict[str, str]:
    """Return for each slot that ``sensor`` lacks the slot of its band that is nearest in wavelength.

    Raises:
        CheckpointError: it has none within :data:`MOST_NM`.
    """
    centre_nm = {band.slot: band.centre_nm for band in SENSORS["sentinel2-l1c"].bands}
    own_nm = {band.slot: band.centre_nm for band in sensor.bands if band.slot is not None}
    nearest = {}
    for slot in wanted:
        if slot in own_nm:
            continue
        other = min(own_nm, key=lambda name: (abs(own_nm[name] - centre_nm[slot]), name))
        away_nm = abs(own_nm[other] - centre_nm[slot])
        if away_nm > MOST_NM:
            raise CheckpointError(
                f"{slot} ({centre_nm[slot]:.0f} nm) has no stand-in in {sensor.name!r}: {other} is {away_nm:.0f} nm"
                f" away (allowed {MOST_NM:.0f}); use another encoder (`bandloom encoder list`)."
            )
        nearest[slot] = other
    return nearest


def said_of(nearest: dict[str, str]) -> str:
    """Return which band stands in for which, in words; empty where none does."""
    return ", ".join(f"{slot} is read from {other}" for slot, other in nearest.items())
