"""A family of public encoders as a record: its input contract, licence, files, and how each fact was verified."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from bandloom.command_line.config import Config
from bandloom.errors import CheckpointError, nearest
from bandloom.sensors import SLOTS, Reflectance, Sensor


class Licence(Config):
    """Under which conditions the weights may be used."""

    name: str = Field(description="as its authors name it, such as MIT")
    hub: str = Field(description="as a model hub writes it in a card, such as mit, or other")
    conditions: str = Field(description="what a user has to do or must not do, in one or two sentences")


class Download(Config):
    """Where one size lies."""

    repository: str = Field(description="OWNER/NAME on huggingface.co")
    folder: str = Field(default="", description="inside the repository")
    revision: str | None = Field(default=None, description="commit that was looked at; null: the user pins one")
    files: dict[str, str | None] = Field(min_length=1, description="file name: sha256, or null where not known")


class Family(Config):
    """One record of ``bandloom/public_encoders/records``."""

    family: str
    title: str
    source: str = Field(description="where the authors' code and paper are")
    licence: Licence
    level: Reflectance = Field(description="toa (L1C) or surface (L2A): what it was pretrained on")
    bands: tuple[str, ...] = Field(min_length=1, description="slots, in the order of its channels")
    band_groups: tuple[tuple[str, ...], ...] = Field(
        default=(), description="bands that share a token of their own; empty: all share one"
    )
    without_a_band: Literal["refuse", "leave out whole groups"] = Field(
        description="refuse, or leave out the token of a band group that the sensor lacks as a whole"
    )
    units: Literal["reflectance * 10000", "reflectance"] = Field(description="of its input, before normalisation")
    normalisation: str = Field(description="in words and a formula")
    gsd_m: int = Field(gt=0, description="metres a pixel of its input")
    patch_px: int = Field(gt=0, description="pixels a side of a token, by default")
    patches_px: tuple[int, ...] = Field(min_length=1, description="every patch that it takes")
    side_tokens: tuple[int, int] = Field(description="fewest and most tokens a side in pretraining")
    pooling: str = Field(description="from its sequence to one vector a token of ground")
    side_inputs: dict[str, str] = Field(default_factory=dict, description="date, place and so on: constant or left out")
    month: int | None = Field(default=None, ge=0, le=11, description="the constant month, 0 is January")
    mean: tuple[float, ...] = Field(
        default=(), description="by band, in its units, where no file of the folder says it"
    )
    std: tuple[float, ...] = Field(default=(), description="likewise; both fill absent samples and scale heads' pixels")
    sizes: dict[str, Download] = Field(min_length=1)
    verified: dict[str, str] = Field(description="for every fact above how it was verified, a card, or from memory")

    @model_validator(mode="after")
    def _check(self) -> "Family":
        unknown = [slot for slot in self.bands if slot not in SLOTS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no slot")
        if self.band_groups and tuple(slot for group in self.band_groups for slot in group) != self.bands:
            raise ValueError("band_groups must name the bands in their order")
        if any(values and len(values) != len(self.bands) for values in (self.mean, self.std)):
            raise ValueError("mean and std need one number a band")
        if self.patch_px not in self.patches_px:
            raise ValueError(f"patch_px {self.patch_px} must be one of patches_px")
        silent = FACTS - set(self.verified)
        if silent:
            raise ValueError(f"verified says nothing of {', '.join(sorted(silent))}")
        return self

    def bands_of(self, sensor: Sensor) -> tuple[str, ...]:
        """Return the bands of ``sensor`` that the encoder reads, in the order of its channels.

        Raises:
            CheckpointError: the sensor is of another product level, or lacks a band that the encoder needs.
        """
        self.check_level(sensor)
        missing = [slot for slot in self.bands if slot not in sensor.slots]
        if not missing:
            return self.bands
        if self.without_a_band == "refuse":
            raise CheckpointError(
                f"{self.family} needs {', '.join(missing)}, which {sensor.name!r} lacks; a band is never made up."
                " Use a sensor that has them, or another encoder (`bandloom encoder list`); `bandloom encoder import"
                " --nearest-slot` lets the nearest band stand in."
            )
        for group in self.band_groups:
            lacking = [slot for slot in group if slot in missing]
            if lacking and len(lacking) < len(group):
                raise CheckpointError(
                    f"{self.family} reads {', '.join(group)} as one token, and {sensor.name!r} lacks"
                    f" {', '.join(lacking)} of them; leave out the others of that group too, or bring all of it."
                )
        kept = tuple(slot for slot in self.bands if slot not in missing)
        if not kept:
            raise CheckpointError(f"{self.family} reads {', '.join(self.bands)}, of which {sensor.name!r} has none.")
        return kept

    def check_level(self, sensor: Sensor) -> None:
        """Check the product level alone.

        Raises:
            CheckpointError: the sensor is of another.
        """
        if sensor.reflectance != self.level:
            names = {"toa": "top-of-atmosphere reflectance (L1C)", "surface": "surface reflectance (L2A)"}
            raise CheckpointError(
                f"{self.family} was pretrained on {names[self.level]}, and {sensor.name!r} is"
                f" {names[sensor.reflectance]}; use scenes of that level, or another encoder (`bandloom encoder list`)."
            )

    def notice(self) -> str:
        """Return whose weights these are and under which conditions, in one line."""
        return f"{self.title}: {self.licence.name}. {self.licence.conditions}"


FACTS = {
    "files",
    "licence",
    "level",
    "bands",
    "units",
    "normalisation",
    "gsd_m",
    "patches_px",
    "side_tokens",
    "pooling",
}


@cache
def families() -> Mapping[str, Family]:
    """Return the shipped records by family name.

    Raises:
        CheckpointError: a record cannot be used.
    """
    folder = files("bandloom.public_encoders") / "records"
    by_name: dict[str, Family] = {}
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".yaml"):
            record: Any = yaml.safe_load(file.read_text())
            try:
                family = Family.model_validate(record)
            except ValidationError as cause:
                raise CheckpointError(
                    f"the record {file.name} of a public encoder cannot be used ({cause})."
                ) from cause
            by_name[family.family] = family
    return by_name


def record_text(name: str) -> str:
    """Return a family's record as it is shipped.

    Raises:
        CheckpointError: there is none of that name.
    """
    return (files("bandloom.public_encoders") / "records" / f"{get_family(name).family}.yaml").read_text()


def get_family(name: str) -> Family:
    """Return a family's record.

    Raises:
        CheckpointError: there is none of that name.
    """
    known = families()
    if name not in known:
        raise CheckpointError(
            f"the public encoder {name!r} is not known; use one of {', '.join(known)}.{nearest(name, known)}"
        )
    return known[name]
