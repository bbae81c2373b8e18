"""Band identification: from descriptions and file names, known orders, and the sensor they add up to."""

import re
from collections.abc import Sequence
from pathlib import Path

from bandloom.errors import SceneError, SensorError, nearest
from bandloom.sensors import SLOTS, Sensor, get_sensor, named_in

BAND_ORDERS: dict[str, tuple[str, ...]] = {
    "l1c": SLOTS,
    "l2a": tuple(slot for slot in SLOTS if slot != "B10"),
    "eurosat": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"),
}
# bands beside reflectance in exports: quality, classes, pictures, masks and angles
_BESIDE = re.compile(
    r"(?:^|[_\-. ])(QA\d+|QA_PIXEL|QA_RADSAT|(?:SR_)?QA_AEROSOL|PIXEL_QA|AOT|WVP|SCL|TCI_?[RGB]?|MSK_\w+|CLD(?:PRB)?"
    r"|SNW(?:PRB)?|CLP|CLM|CS|CS_CDF|CLOUD\w*|PROBABILITY|ALPHA|DATA_?MASK|F?MASK|[SV][AZ]A|SUN\w*|VIEW\w*"
    r"|SR_ATMOS_OPACITY|SR_CLOUD_QA|ST_\w+)$",
    re.IGNORECASE,
)
_IN_A_NAME = re.compile(r"(?:^|[_\-. ])(B(?:0?\d|1[0-2]|8A))(?:_(?:10|20|60)m)?$", re.IGNORECASE)


def sentinel2_name(text: str) -> str | None:
    """Return the Sentinel-2 band (``B02``) that a description or file stem names (``B2``, ``T33_B02_10m``), or None."""
    match = _IN_A_NAME.search(text.strip())
    if match is None:
        return None
    digits = match.group(1)[1:].upper()
    return f"B{digits}" if digits == "8A" else f"B{int(digits):02d}"


def band_name(text: str, sensor: Sensor | None) -> str | None:
    """Return the band that a description or file stem names: one of the sensor's own when it is told, or Sentinel-2's.

    Case, leading zeros and what stands before a separator are left aside: ``B4``, ``b04`` and ``SR_B4`` are one.
    """
    if sensor is None:
        return sentinel2_name(text)
    return named_in(text, [band.name for band in sensor.bands])


def lies_beside(text: str) -> bool:
    """Tell whether a description names what exports put beside reflectance: QA60, SCL, AOT, TCI_R, a mask."""
    return _BESIDE.search(text.strip()) is not None


def expand_order(order: Sequence[str] | str, sensor: Sensor | None = None) -> tuple[str, ...]:
    """Return band names from a known order's name (l1c, l2a, eurosat), a comma list, or a list of names."""
    if isinstance(order, str):
        if order in BAND_ORDERS and (sensor is None or set(BAND_ORDERS[order]) <= {b.name for b in sensor.bands}):
            return BAND_ORDERS[order]
        order = [part.strip() for part in order.split(",")]
        if len(order) == 1 and band_name(order[0], sensor) is None:
            known = ", ".join(BAND_ORDERS)
            raise SceneError(
                f"the band order {order[0]!r} is not known; use {known}, or the names in file order with commas."
                f"{nearest(order[0], BAND_ORDERS)}"
            )
    return tuple(band_name(name, sensor) or name for name in order)


def names_of_stack(
    path: Path,
    descriptions: Sequence[str | None],
    band_map: Sequence[str] | str | None,
    sensor: Sensor | None = None,
) -> tuple[str, ...]:
    """Name the bands of a multi-band raster by the order given, or else by its own descriptions; never by guessing.

    Raises:
        SceneError: neither names all bands, or the order has another length than the file.
    """
    count = len(descriptions)
    if band_map is not None:
        names = expand_order(band_map, sensor)
        if len(names) != count:
            raise SceneError(f"{path} has {count} bands, but the band order names {len(names)}; name each band once.")
        return names
    if not all(descriptions):
        raise SceneError(
            f"{path} has {count} bands and does not describe them; say their order with --band-order"
            f" ({', '.join(BAND_ORDERS)}, or names with commas)."
        )
    return tuple(band_name(text or "", sensor) or (text or "") for text in descriptions)


def sensor_of(path: Path, names: Sequence[str], sensor: Sensor | None) -> Sensor:
    """Return the sensor that these bands make up: the one named, or Sentinel-2 by its full set of bands.

    Raises:
        SceneError: a required band is missing, or the set belongs to no known sensor.
        SensorError: the sensor named lacks one of the bands.
    """
    have = set(names)
    if len(have) < len(names):
        raise SceneError(f"{path} names the band {_twice(names)!r} twice; give each band one name.")
    if sensor is None:
        if have == set(SLOTS):
            return get_sensor("sentinel2-l1c")
        if have == set(BAND_ORDERS["l2a"]):
            return get_sensor("sentinel2-l2a")
        known = [slot for slot in SLOTS if slot in have]
        missing = [slot for slot in SLOTS if slot not in have]
        beside = [str(name) for name in names if name not in SLOTS]
        if beside and not set(missing) - {"B10"}:
            raise SceneError(
                f"{path} has {', '.join(beside)} beside the bands of Sentinel-2; leave {_it(beside)} out with"
                f" --bands={','.join(f'-{name}' for name in beside)}."
            )
        raise SceneError(
            f"{path} has {len(names)} bands ({', '.join(map(str, names))}), which is no known sensor's set"
            f" (Sentinel-2 L1C's 13 without {', '.join(missing) or 'nothing'}); name the sensor with --sensor."
            if known
            else f"{path} has bands named {', '.join(map(str, names))}, which no known sensor has; name the sensor with"
            " --sensor and the bands with --band-order."
        )
    needed = [band.name for band in sensor.bands if band.slot]
    missing = [name for name in needed if name not in have]
    if missing:
        raise SceneError(
            f"{path} has {len(names)} bands where sensor {sensor.name!r} needs {len(needed)}: {', '.join(missing)}"
            " missing; name the sensor that took it with --sensor (a YAML record of your own may list fewer bands)."
        )
    for name in names:
        if name not in {band.name for band in sensor.bands}:
            raise SensorError(
                f"{path} has a band {name!r}, which sensor {sensor.name!r} does not have; leave it out with"
                f" --bands=-{name}."
            )
    return sensor


def _twice(names: Sequence[str]) -> str:
    return next(name for name in names if list(names).count(name) > 1)


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
