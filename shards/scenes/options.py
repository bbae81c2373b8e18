"""Reading options of a scene: what a user states that its files do not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from bandloom.command_line.options import Option
from bandloom.errors import SceneError
from bandloom.rasters.validity import NO_NODATA
from bandloom.rasters.values import OFFSET, SCALE

# what the command line says of them, wherever they are fields
SensorName = Annotated[str | None, Option("Sensor name or YAML; else recognised by its bands.")]
BandOrder = Annotated[
    Sequence[str] | str | None,
    Option(
        "Order of bands, where files do not say: l1c, l2a, eurosat, or names with commas.", "--band-order", parse=str
    ),
]
Offset = Annotated[int | None, Option("Radiometric offset, 0 or -1000, where the files do not say.")]
Scale = Annotated[str | None, Option("GAIN or GAIN,OFFSET: reflectance = GAIN * value + OFFSET.")]
Nodata = Annotated[str | None, Option("Stored value that stands for absent, or none.")]
Bands = Annotated[str | None, Option("Bands to read, with commas; -QA60,-AOT leaves these out.")]


@dataclass(frozen=True)
class SceneOptions:
    """How a scene is read where its files do not say, or say it wrongly; what products state stands.

    Args:
        sensor: a sensor's name or YAML record; recognised from the bands when it is a Sentinel-2 set.
        band_map: band names in file order, or a known order's name (l1c, l2a, eurosat), for files that do not say.
        offset: 0 or -1000, what to add to stored values to get 10000 x reflectance; None: the tag, or B10, decides.
        scale: ``GAIN`` or ``GAIN,OFFSET`` of ``reflectance = GAIN * value + OFFSET``, in the place of all tags.
        nodata: the value that stands for absent, or ``none``; None: the file's own.
        bands: the bands to read, with commas; or each with a minus, the bands to leave out.
    """

    sensor: SensorName = None
    band_map: BandOrder = None
    offset: Offset = None
    scale: Scale = None
    nodata: Annotated[str | float | None, Option("Stored value that stands for absent, or none.", parse=str)] = None
    bands: Bands = None

    def check(self) -> None:
        """Raise a :class:`SceneError` for an option that cannot be used."""
        _ = self.gain_and_offset, self.absent
        if self.scale is not None and self.offset is not None:
            raise SceneError(
                f"--scale {self.scale} and --offset {self.offset} both say how values become reflectance; write"
                " --scale GAIN,OFFSET alone."
            )

    @cached_property
    def gain_and_offset(self) -> tuple[float, float] | None:
        """Gain and offset from stored value to reflectance, as :attr:`scale` says."""
        if self.scale is None:
            return None
        try:
            gain, offset = (*(float(part) for part in str(self.scale).split(",")), 0.0)[:2]
        except ValueError:
            gain, offset = math.nan, math.nan
        if not (math.isfinite(gain) and math.isfinite(offset) and gain > 0) or str(self.scale).count(",") > 1:
            raise SceneError(
                f"--scale {self.scale!r} is not understood; write GAIN or GAIN,OFFSET of reflectance = GAIN * value +"
                " OFFSET, such as 0.0001 or 2.75e-05,-0.2."
            )
        return gain, offset

    @cached_property
    def absent(self) -> float | str | None:
        """The value that stands for absent, ``none``, or None where the user says nothing."""
        if self.nodata is None or str(self.nodata).lower() == NO_NODATA:
            return None if self.nodata is None else NO_NODATA
        try:
            return float(self.nodata)
        except ValueError as cause:
            raise SceneError(f"--nodata {self.nodata!r} is no number; write one, or none.") from cause

    def keeps(self, names: Sequence[str], where: object) -> list[str]:
        """Return those of a file's band names that are to be read.

        Raises:
            SceneError: :attr:`bands` names one that the file does not have, or mixes both forms.
        """
        if self.bands is None:
            return list(names)
        asked = [part.strip() for part in self.bands.split(",") if part.strip()]
        left_out = [part[1:] for part in asked if part.startswith("-")]
        if left_out and len(left_out) < len(asked):
            raise SceneError(f"--bands {self.bands!r} mixes bands to read and bands to leave out; write one kind.")
        by_plain = {plain(name): name for name in names}
        unknown = next((name for name in left_out or asked if plain(name) not in by_plain), None)
        if unknown is not None:
            raise SceneError(f"{where} has no band {unknown!r}, which --bands names; it has {', '.join(names)}.")
        told = {by_plain[plain(name)] for name in left_out or asked}
        return [name for name in names if (name in told) != bool(left_out)]


def plain(name: str) -> str:
    """Return a band's name without case and leading zeros, as people mix them: ``b4``, ``B04``."""
    text = name.strip().lower()
    return f"{text[0]}{text[1:].lstrip('0')}" if text[:1] == "b" and text[1:].isdigit() else text


def one_ten_thousandth(gain: float, offset: float) -> int | None:
    """Return the radiometric offset, 0 or -1000, that a scaling of 10000 x reflectance states; None for any other."""
    added = round(offset * SCALE)
    usual = math.isclose(gain, 1 / SCALE, rel_tol=1e-6) and math.isclose(offset * SCALE, added, abs_tol=1e-3)
    return added if usual and added in (0, -OFFSET) else None
