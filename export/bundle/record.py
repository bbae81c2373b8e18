"""The bundle's record: every fact that a wrong use must be refused by, frozen and versioned."""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from bandloom.classes.label_set import IGNORE_INDEX, LabelSet
from bandloom.command_line.config import Config
from bandloom.export.bundle.tiling import Tiling
from bandloom.rasters import values
from bandloom.sensors import Sensor
from bandloom.target import Target
from bandloom.tasks import ANSWERS, Answer, TaskName

SCHEMA_VERSION = 2  # 2: the tasks multilabel and change, temperature, thresholds
CONTRACT_KEY = "bandloom.contract"  # the entry of an engine's own metadata that ties it to its record

Precision = Literal["fp32", "fp16", "bf16", "int8"]
DATES = ("before", "after")


class GroupRecord(Config):
    """One engine input: bands that share a sampling grid, in the order of the array's channel axis."""

    name: str = Field(description="the input's name, such as g10")
    gsd_m: int = Field(gt=0)
    bands: tuple[str, ...] = Field(description="band names in channel order; of two dates B02@before, ..., B02@after")
    slots: tuple[str, ...] = Field(description="the slot that each band fills")


class ValueConvention(Config):
    """How a sample is stored: ``dn = round(reflectance * scale) + offset``, uint16 as little-endian byte pairs."""

    dtype: Literal["uint16 as little-endian uint8 pairs"] = "uint16 as little-endian uint8 pairs"
    scale: int = values.SCALE
    offset: int = values.OFFSET
    nodata: int = values.NODATA
    saturated: int = values.SATURATED


class Familiar(Config):
    """How far held-out ground lies from the training ground, by which a distance is read."""

    quantiles: tuple[float, ...] = Field(min_length=2, description="of held-out tokens' distances, evenly from 0 to 1")
    tokens: int = Field(gt=0, description="training tokens that the space was fitted on")
    held_tokens: int = Field(gt=0, description="held-out tokens behind the quantiles")


class Contract(Config):
    """The part of a bundle's record that gives its numbers their meaning.

    The model file carries its digest and ``golden.npz`` the whole of it, so a record edited beside them is found out
    even when its checksums were made anew.
    """

    task: TaskName
    sensor: dict[str, Any] = Field(description="the sensor's whole record")
    groups: tuple[GroupRecord, ...] = Field(min_length=1)
    token_m: int = Field(gt=0)
    tile_px: int = Field(gt=0, description="side of an input tile in pixels of 10 m")
    margin_px: int = Field(ge=0, description="thrown away on each side of a tile")
    taper_px: int = Field(ge=0, description="over which neighbouring tiles are blended")
    values: ValueConvention = ValueConvention()
    statistics: dict[str, dict[str, float]] = Field(description="mean and std of reflectance by slot, in the model")
    label_set: dict[str, Any] = Field(description="classes by index: code, name and colour")
    map_nodata: int = Field(description="what a map holds where there is no class")
    temperature: float = Field(default=1.0, gt=0, description="divides logits before they are read as probabilities")
    thresholds: tuple[float, ...] = Field(
        default=(), description="multilabel: the probability from which on each class is there; empty: 0.5"
    )
    target: Target | None = Field(
        default=None,
        description="regression: the quantity; output times std plus mean is a value in its unit",
    )
    members: int = Field(default=1, ge=1, description="models whose probabilities the logits are the mean of")
    familiar: Familiar | None = Field(default=None, description="what the output ``distance`` is read by")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; what came later and is not there leaves no key, so that older digests hold."""
        absent = {name for name, without in _LATER.items() if getattr(self, name) == without}
        return self.model_dump(mode="json", exclude=absent)

    def digest(self) -> str:
        """Return the sha256 of the contract's canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def get_sensor(self) -> Sensor:
        """Return the sensor whose scenes the bundle takes."""
        return Sensor.from_dict(self.sensor)

    def get_label_set(self) -> LabelSet:
        """Return the classes."""
        return LabelSet.from_dict(self.label_set) if self.target is None else self.target.label_set

    @property
    def answer(self) -> Answer:
        """The form of the model's answer."""
        return ANSWERS[self.task]

    @property
    def makes_map(self) -> bool:
        """Whether there is an answer for every pixel, rather than one for every tile."""
        return self.answer.per_pixel

    @property
    def dates(self) -> int:
        """How many dates of the same ground go in, the earlier one's bands first in every group."""
        return self.answer.dates

    @property
    def extras(self) -> tuple[str, ...]:
        """Further outputs of the model files beside the logits, ``(batch, 1, ...)`` each."""
        there = {"disagreement": self.members > 1, "distance": self.familiar is not None}
        return tuple(name for name, is_there in there.items() if is_there)

    @property
    def tiling(self) -> Tiling:
        """Where tiles lie and how they are blended."""
        return Tiling(self.tile_px, self.margin_px, self.taper_px)


_LATER: dict[str, Any] = {
    "target": None,
    "members": 1,
    "familiar": None,
}  # keys that came later, and what leaves them out


class Parity(Config):
    """How far a model file is from torch on the golden chips, and what was allowed."""

    chips: int = Field(gt=0)
    source: str = Field(description="where the chips came from")
    max_abs: float = Field(ge=0, description="largest absolute difference of a logit")
    argmax_agreement: float = Field(ge=0, le=1, description="share of pixels (or chips) with the same class")
    allowed_max_abs: float = Field(ge=0)
    required_agreement: float = Field(ge=0, le=1)
    runtime: str = Field(description="what ran the file")
    score: float | None = Field(None, description="accuracy on labelled chips, where there were some")
    torch_score: float | None = Field(None, description="the same of torch in fp32")
    macro_f1: float | None = Field(
        None, description="mean F1 of the classes on those chips; what is refused is accuracy"
    )
    torch_macro_f1: float | None = Field(None, description="the same of torch in fp32")

    @property
    def passes(self) -> bool:
        """Tell whether the file is as close as it must be."""
        return self.max_abs <= self.allowed_max_abs and self.argmax_agreement >= self.required_agreement

    @property
    def macro_f1_lost(self) -> float:
        """By how much the mean F1 of the classes falls: a few labels of a rare class move it far, accuracy hardly."""
        return 0.0 if self.macro_f1 is None or self.torch_macro_f1 is None else self.torch_macro_f1 - self.macro_f1


class ModelFile(Config):
    """One precision of the model."""

    file: str
    precision: Precision
    opset: int
    parity: Parity
    fp32_layers: tuple[str, ...] = Field(
        default=(), description="of 16 bits and int8: layers that stay in fp32, for what they reach on real chips"
    )
    extras: dict[str, float] = Field(
        default_factory=dict, description="of each further output: its largest difference from torch on the same chips"
    )


class FeatureFile(Config):
    """The encoder alone, for embeddings; fp32."""

    file: str
    opset: int
    embed_dim: int = Field(gt=0, description="D, the bands of an embedding")
    max_abs: float = Field(ge=0, description="largest difference of a feature from torch's on the held chips")
    allowed_max_abs: float = Field(ge=0)


class EngineFile(Config):
    """One compiled engine."""

    file: str
    backend: Literal["tensorrt", "tensorrt-rtx"]
    backend_version: str
    precision: Precision
    compute_capabilities: tuple[str, ...] = Field(description="the GPUs it was built for, such as sm_89; none: any")
    batch: tuple[int, int, int] = Field(description="smallest, usual and largest batch of its profile")
    built_without_gpu: bool
    executed: bool = Field(False, description="whether its parity was measured by running it")
    version_compatible: bool = Field(False, description="runs on later versions of TensorRT too")
    hardware_compatible: bool = Field(False, description="runs on every GPU from Ampere (sm_80) on")

    def runs_on(self, capability: str) -> bool | None:
        """Tell whether it was built for GPUs of this compute capability; None where nothing says so.

        A TensorRT engine of a bundle of before 2026-12 does not say for which GPU it was built.
        """
        if capability in self.compute_capabilities:
            return True
        if self.hardware_compatible:
            return int(capability.removeprefix("sm_")) >= 80
        if self.compute_capabilities:
            return False
        return True if self.backend == "tensorrt-rtx" else None


class BundleRecord(Config):
    """``bundle.json``."""

    schema_version: Literal[2] = SCHEMA_VERSION
    name: str
    contract: Contract
    models: tuple[ModelFile, ...] = Field(min_length=1, description="the first one is what runs by default")
    engines: tuple[EngineFile, ...] = ()
    features: FeatureFile | None = Field(default=None, description="the encoder, where it was asked for")
    files: dict[str, str] = Field(description="sha256 of every other file of the bundle, by name")
    versions: dict[str, str]
    created: str = Field(description="UTC time")
    provenance: dict[str, Any] = Field(default_factory=dict, description="down to shards and checkpoint")

    def model(self, precision: str | None = None) -> ModelFile:
        """Return the model of that precision, or the default one.

        Raises:
            KeyError: the bundle has no such precision.
        """
        for file in self.models:
            if precision is None or file.precision == precision:
                return file
        raise KeyError(precision)


def group_records(sensor: Sensor, task: TaskName) -> tuple[GroupRecord, ...]:
    """Return the inputs of a model: the sensor's groups, of two dates stacked band group by band group."""
    dates = tuple(f"@{date}" for date in DATES) if ANSWERS[task].dates > 1 else ("",)
    return tuple(
        GroupRecord(
            name=g.name,
            gsd_m=g.gsd_m,
            bands=tuple(b.name + date for date in dates for b in g.bands),
            slots=g.slots * len(dates),
        )
        for g in sensor.groups
    )


def contract_of(
    sensor: Sensor,
    label_set: LabelSet,
    task: TaskName,
    token_m: int,
    tiling: Tiling,
    statistics: dict[str, dict[str, float]],
    *,
    temperature: float = 1.0,
    thresholds: tuple[float, ...] = (),
    target: Target | None = None,
    members: int = 1,
) -> Contract:
    """Build the contract of a model from what it was trained with."""
    return Contract(
        task=task,
        sensor=sensor.to_dict(),
        groups=group_records(sensor, task),
        token_m=token_m,
        tile_px=tiling.tile_px,
        margin_px=tiling.margin_px,
        taper_px=tiling.taper_px,
        statistics=statistics,
        label_set=label_set.to_dict(),
        map_nodata=IGNORE_INDEX,
        temperature=temperature,
        thresholds=thresholds,
        target=target,
        members=members,
    )
