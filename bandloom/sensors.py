"""Bands, sensors and the thirteen slots that every encoder knows, keyed by name and never by position.

A slot is one Sentinel-2 band; a sensor maps its own bands to slots or leaves them unused. Wavelengths of Sentinel-2 are
ESA's spectral response functions of Sentinel-2A (spyndex 0.12 agrees); Landsat is USGS's OLI band table; THEOS-1 is
GISTDA's band table, THEOS-2 its published band names with nominal centres, to be read from each product's metadata; HLS
holds the bands of either at 30 m. ``sentinel2-rhorc`` is Sentinel-2 corrected for Rayleigh scattering alone (ACOLITE).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from bandloom.errors import SensorError, nearest
from bandloom.files.yaml_once import load_once

SLOTS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
SLOT_GSD_M = {
    "B02": 10,
    "B03": 10,
    "B04": 10,
    "B08": 10,
    "B05": 20,
    "B06": 20,
    "B07": 20,
    "B8A": 20,
    "B11": 20,
    "B12": 20,
    "B01": 60,
    "B09": 60,
    "B10": 60,
}
FINEST_GSD_M = 10  # finer sensors are averaged to this, see Band.stored_gsd_m
REFERENCE_TOKEN_M = 60  # the coarsest Sentinel-2 pixel: the smallest token that holds a sample of every slot

Reflectance = Literal["toa", "surface"]


@dataclass(frozen=True)
class Band:
    """One spectral band: where it looks, how finely it samples the ground, and which slot it fills (None: unused)."""

    name: str
    centre_nm: float
    fwhm_nm: float
    gsd_m: float
    slot: str | None = None

    @property
    def stored_gsd_m(self) -> int:
        """Ground sampling distance in shards and models: the native one, or 10 m for anything finer."""
        return int(max(self.gsd_m, FINEST_GSD_M))


@dataclass(frozen=True)
class BandGroup:
    """The bands of a sensor that share one sampling grid; pixels of a group are one ``(C, H, W)`` array."""

    gsd_m: int
    bands: tuple[Band, ...]

    @property
    def name(self) -> str:
        """The group's name in shards, engines and metrics, such as ``g10``."""
        return f"g{self.gsd_m}"

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of the group's bands, in the order of its array's first axis."""
        return tuple(band.slot for band in self.bands if band.slot)


@dataclass(frozen=True)
class Sensor:
    """A sensor and its processing level as a frozen record."""

    name: str
    reflectance: Reflectance
    bands: tuple[Band, ...]

    def __post_init__(self) -> None:
        used = [band.slot for band in self.bands if band.slot]
        for band in self.bands:
            if band.slot is not None and band.slot not in SLOTS:
                known = ", ".join(SLOTS)
                raise SensorError(
                    f"band {band.name!r} of sensor {self.name!r} names the slot {band.slot!r}, which does not exist;"
                    f" use one of {known}, or null to leave the band unused.{nearest(band.slot, SLOTS)}"
                )
            if band.slot and REFERENCE_TOKEN_M % band.stored_gsd_m:
                raise SensorError(
                    f"band {band.name!r} of sensor {self.name!r} samples every {band.gsd_m} m, which does not divide a"
                    f" {REFERENCE_TOKEN_M} m token; resample it to 10, 12, 15, 20, 30 or 60 m, or set its slot to null."
                )
        if not used:
            raise SensorError(f"sensor {self.name!r} fills no slot; map at least one of its bands to a slot.")
        if len(set(used)) < len(used):
            twice = sorted({slot for slot in used if used.count(slot) > 1})
            raise SensorError(f"sensor {self.name!r} fills slot {twice[0]} twice; set one of the two bands to null.")

    @cached_property
    def groups(self) -> tuple[BandGroup, ...]:
        """The used bands by sampling grid, finest first, each in slot order: the native groups of shards and models."""
        used = sorted((b for b in self.bands if b.slot), key=lambda b: SLOTS.index(b.slot or ""))
        gsds = sorted({band.stored_gsd_m for band in used})
        return tuple(BandGroup(g, tuple(b for b in used if b.stored_gsd_m == g)) for g in gsds)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots this sensor fills, in slot order."""
        return tuple(slot for slot in SLOTS if any(band.slot == slot for band in self.bands))

    def band(self, name: str) -> Band:
        """Return the band of that name.

        Raises:
            SensorError: the sensor has no such band; the nearest name is offered.
        """
        for band in self.bands:
            if band.name == name:
                return band
        names = [band.name for band in self.bands]
        raise SensorError(
            f"sensor {self.name!r} has no band {name!r}; its bands are {', '.join(names)}.{nearest(name, names)}"
        )

    def subset(self, names: Iterable[str], name: str | None = None) -> "Sensor":
        """Return the same sensor with the named bands alone, under ``name`` when given."""
        return replace(self, name=name or self.name, bands=tuple(self.band(name) for name in names))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, as manifests, checkpoints and bundles store them."""
        return {"name": self.name, "reflectance": self.reflectance, "bands": [asdict(band) for band in self.bands]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Sensor":
        """Build a sensor from :meth:`to_dict`'s form, which is also the form of a user's YAML record.

        Raises:
            SensorError: a key is missing, unknown or of the wrong kind.
        """
        try:
            extra = set(record) - {"name", "reflectance", "bands"}
            if extra:
                raise TypeError(f"unknown key {sorted(extra)[0]!r}")
            if record["reflectance"] not in ("toa", "surface"):
                raise ValueError(f"reflectance is {record['reflectance']!r}, expected 'toa' or 'surface'")
            bands = tuple(Band(**band) for band in record["bands"])
            for band in bands:
                if not all(isinstance(v, int | float) and v > 0 for v in (band.centre_nm, band.fwhm_nm, band.gsd_m)):
                    raise ValueError(f"band {band.name!r} needs positive centre_nm, fwhm_nm and gsd_m")
            return cls(str(record["name"]), record["reflectance"], bands)
        except (KeyError, TypeError, ValueError) as cause:
            raise SensorError(
                f"this sensor record cannot be used ({cause}); it needs name, reflectance (toa or surface) and bands,"
                " each with name, centre_nm, fwhm_nm, gsd_m and slot."
            ) from cause


def _sensor(name: str, reflectance: Reflectance, *rows: tuple[str, float, float, float, str | None]) -> Sensor:
    return Sensor(name, reflectance, tuple(Band(*row) for row in rows))


_MSI = {
    "B01": (442.7, 21),
    "B02": (492.4, 66),
    "B03": (559.8, 36),
    "B04": (664.6, 31),
    "B05": (704.1, 15),
    "B06": (740.5, 15),
    "B07": (782.8, 20),
    "B08": (832.8, 106),
    "B8A": (864.7, 21),
    "B09": (945.1, 20),
    "B10": (1373.5, 31),
    "B11": (1613.7, 91),
    "B12": (2202.4, 175),
}
_MSI_ROWS = tuple((slot, centre, width, SLOT_GSD_M[slot], slot) for slot, (centre, width) in _MSI.items())
_OLI_ROWS = (
    ("B1", 443.0, 16, 30, "B01"),
    ("B2", 482.0, 60, 30, "B02"),
    ("B3", 561.4, 57, 30, "B03"),
    ("B4", 654.6, 37, 30, "B04"),
    ("B5", 864.7, 28, 30, "B8A"),
    ("B6", 1608.9, 85, 30, "B11"),
    ("B7", 2200.7, 187, 30, "B12"),
    ("B8", 589.5, 172, 15, None),
    ("B9", 1373.4, 20, 30, "B10"),
    ("B10", 10895.0, 590, 30, None),
    ("B11", 12005.0, 1010, 30, None),
)

_HLS_L30_ROWS = tuple(
    (f"B{int(name[1:]):02d}", centre, width, 30, slot if name != "B9" else None)
    for name, centre, width, _, slot in _OLI_ROWS
    if name != "B8"
)
_HLS_S30_ROWS = tuple(
    (name, centre, width, 30, slot if slot not in ("B09", "B10") else None)
    for name, centre, width, _, slot in _MSI_ROWS
)

SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        _sensor("sentinel2-l1c", "toa", *_MSI_ROWS),
        _sensor("sentinel2-l2a", "surface", *(row for row in _MSI_ROWS if row[0] != "B10")),
        _sensor("sentinel2-rhorc", "surface", *(row for row in _MSI_ROWS if row[0] not in ("B09", "B10"))),
        _sensor("landsat89-l1", "toa", *_OLI_ROWS),
        _sensor("landsat89-l2", "surface", *(row for row in _OLI_ROWS if row[0] not in ("B8", "B9", "B11"))),
        _sensor("hls-l30", "surface", *_HLS_L30_ROWS),
        _sensor("hls-s30", "surface", *_HLS_S30_ROWS),
        _sensor(
            "theos1",
            "toa",
            ("blue", 485, 70, 15, "B02"),
            ("green", 565, 70, 15, "B03"),
            ("red", 655, 70, 15, "B04"),
            ("nir", 835, 130, 15, "B08"),
            ("pan", 675, 450, 2, None),
        ),
        _sensor(
            "theos2",
            "toa",
            ("blue", 485, 70, 2, "B02"),
            ("green", 560, 80, 2, "B03"),
            ("red", 660, 60, 2, "B04"),
            ("nir", 830, 140, 2, "B08"),
            ("pan", 625, 350, 0.5, None),
        ),
    )
}


def named_in(text: str, names: Iterable[str]) -> str | None:
    """Return the band among ``names`` that a description or file stem ends in, the longest where several do, or None.

    Case, leading zeros and what stands before a separator are left aside: ``B4``, ``b04`` and ``SR_B4`` are one.
    """
    told = _plain(text)
    fits = [name for name in names if re.search(rf"(?:^|_){re.escape(_plain(name))}(?:_\d+m)?$", told)]
    return max(fits, key=len, default=None)


def _plain(name: str) -> str:
    """Return a name in lower case with underscores between its parts and no leading zeros in its numbers."""
    return re.sub(r"(?<=[a-z_])0+(?=\d)", "", re.sub(r"[\s.\-]+", "_", name.strip().lower()))


def get_sensor(name: str) -> Sensor:
    """Return a shipped sensor by name, or a user's own from the path of a YAML record.

    Raises:
        SensorError: neither a shipped sensor nor a readable record.
    """
    if name in SENSORS:
        return SENSORS[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        try:
            record = load_once(path.read_text(encoding="utf-8-sig"))
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as cause:
            raise SensorError(f"{path} is not readable YAML ({cause}); mend it or name a shipped sensor.") from cause
        if not isinstance(record, dict):
            raise SensorError(f"{path} holds no sensor record; it needs the keys name, reflectance and bands.")
        return Sensor.from_dict(record)
    raise SensorError(
        f"sensor {name!r} is not known; use one of {', '.join(SENSORS)}, or the path of your own record ending in"
        f" .yaml.{nearest(name, SENSORS)}"
    )
