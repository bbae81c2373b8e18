"""Adapter to torchgeo-bench: lets its own harness score our encoders, and public ones that are read through ours.

Its runner makes ``BandloomBench(bands=..., checkpoint=...)`` once a dataset and passes raw pixels; the model file and
the one line of YAML that it needs are in docs/bench.md. What its datasets hold becomes native groups here: reflectance
or 10000 times it by the bands' greatest value, 20 m and 60 m bands averaged back onto their own sampling, bands that an
encoder does not know left out, and in GEO-Bench's m-eurosat the five bands whose names are those of others put right.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from bandloom.errors import SensorError
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, load_encoder
from bandloom.rasters.values import NODATA, OFFSET, SCALE
from bandloom.sensors import Sensor, get_sensor

SLOT_OF = {  # torchgeo-bench's names of Sentinel-2's bands
    "coastal_aerosol": "B01",
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "red_edge_1": "B05",
    "rededge1": "B05",
    "red_edge_2": "B06",
    "rededge2": "B06",
    "red_edge_3": "B07",
    "rededge3": "B07",
    "nir": "B08",
    "red_edge_4": "B8A",
    "nir_narrow": "B8A",
    "rededge4": "B8A",
    "water_vapour": "B09",
    "watervapor": "B09",
    "swir_cirrus": "B10",
    "cirrus": "B10",
    "swir_1": "B11",
    "swir1": "B11",
    "swir_2": "B12",
    "swir2": "B12",
}
M_EUROSAT = {"B8A": "B09", "B09": "B10", "B10": "B11", "B11": "B12", "B12": "B8A"}  # what its names really hold
CIRRUS_AT_MOST = 100.0  # mean of 10000 x reflectance: B10 is dark, and nothing else is
DN_FROM = 1000.0  # a greatest value above is 10000 x reflectance (torchgeo-bench's own rule)
PIXEL_M = 10


class BandSpec(Protocol):
    """The part of ``torchgeo_bench.datasets.base.BandSpec`` that is read."""

    @property
    def sensor(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def mean(self) -> float: ...  # noqa: D102
    @property
    def max(self) -> float: ...  # noqa: D102


class NativeInput:
    """From torchgeo-bench's images to native groups of a sensor.

    Args:
        bands: of the images' channels.
        sensor: whose bands these are: sentinel2-l1c where B10 is among them, else sentinel2-l2a; None: by that rule.

    Raises:
        SensorError: no band is Sentinel-2's, or two are one.
    """

    def __init__(self, bands: Sequence[BandSpec], sensor: str | None = None) -> None:
        slots = _slots(bands)
        if not slots:
            raise SensorError(
                f"none of the bands {', '.join(band.name for band in bands)} is Sentinel-2's; score this dataset with"
                " another model."
            )
        whole = get_sensor(sensor or ("sentinel2-l1c" if "B10" in slots else "sentinel2-l2a"))
        self.sensor: Sensor = whole.subset([band.name for band in whole.bands if band.slot in slots])
        self._channels = {slot: slots[slot] for slot in self.sensor.slots}
        greatest = max(bands[channel].max for channel in self._channels.values())
        self._scale = 1.0 if greatest > DN_FROM else float(SCALE)

    def groups(self, images: Tensor) -> dict[int, Tensor]:
        """Return digital numbers ``{gsd_m: (B, C, H, W)}`` of raw images ``(B, C, H, W)`` at 10 m; 0 where absent.

        A side that is no multiple of 60 m is padded with absent samples.
        """
        height, width = images.shape[-2:]
        padded = functional.pad(images.float(), (0, -width % 6, 0, -height % 6), value=torch.nan)
        groups = {}
        for group in self.sensor.groups:
            pixels = padded[:, [self._channels[slot] for slot in group.slots]] * self._scale
            known = pixels.isfinite()
            side = group.gsd_m // PIXEL_M
            share = functional.avg_pool2d(known.float(), side)
            mean = functional.avg_pool2d(torch.where(known, pixels, 0.0), side) / share.clamp_min(1e-6)
            dn = (mean.round() + OFFSET).clamp(1, 65534)
            groups[group.gsd_m] = torch.where(share > 0, dn, float(NODATA))
        return groups


def _slots(bands: Sequence[BandSpec]) -> dict[str, int]:
    """Return the channel of each slot."""
    slots: dict[str, int] = {}
    for channel, band in enumerate(bands):
        name = band.name.lower()
        slot = SLOT_OF.get(name, name.upper())
        if band.sensor != "s2" or slot not in SLOT_OF.values():
            continue
        if slot in slots:
            raise SensorError(f"two of the bands are {slot}; expected each once.")
        slots[slot] = channel
    if _is_m_eurosat(bands, slots):
        slots = {M_EUROSAT.get(slot, slot): channel for slot, channel in slots.items()}
    return slots


def _is_m_eurosat(bands: Sequence[BandSpec], slots: dict[str, int]) -> bool:
    """Tell whether the band called B09 is as dark as B10 alone is, and the one called B10 is not."""
    if not {"B09", "B10"} <= slots.keys() or bands[slots["B09"]].max <= 1:
        return False
    return bands[slots["B09"]].mean < CIRRUS_AT_MOST < bands[slots["B10"]].mean


class NativeEncoder:
    """An encoder as torchgeo-bench calls it: raw images in, one vector an image out.

    Args:
        bands: of the images' channels.
        checkpoint: an encoder's checkpoint or run, or a public encoder's folder.
        sensor: see :class:`NativeInput`.

    Raises:
        BandloomError: the encoder cannot be read, or does not take these bands.
    """

    def __init__(self, bands: Sequence[BandSpec], checkpoint: str, sensor: str | None = None) -> None:
        self.inputs = NativeInput(bands, sensor)
        self.encoder: AnyEncoder = load_encoder(checkpoint_folder(Path(checkpoint))).eval()
        self.encoder.check_sensor(self.inputs.sensor)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the mean token of each image, ``(B, D)``."""
        groups = self.inputs.groups(images)
        step = self.encoder.chip_step_m
        for gsd_m, group in groups.items():
            down, right = (-side * gsd_m % step // gsd_m for side in group.shape[-2:])
            groups[gsd_m] = functional.pad(group, (0, right, 0, down))
        return self.encoder.forward_features(groups, self.inputs.sensor).float().mean(1)


def __getattr__(name: str) -> Any:
    """Make the class that torchgeo-bench's runner wants, where torchgeo-bench is installed."""
    if name != "BandloomBench":
        raise AttributeError(name)
    from torchgeo_bench.models.interface import BenchModel  # pyright: ignore[reportMissingImports]

    class BandloomBench(BenchModel):
        """``_target_`` of torchgeo-bench's model YAML."""

        def __init__(self, bands: Any, checkpoint: str, sensor: str | None = None, **_: Any) -> None:
            super().__init__(bands=bands, normalization="identity")  # the encoder normalises by itself
            self._native = NativeEncoder(bands, checkpoint, sensor)
            self.backbone = self._native.encoder

        def normalize_inputs(self, images: Tensor) -> Tensor:
            """Pass raw values on."""
            return images

        def _forward_patch_features(self, images: Tensor) -> Tensor:
            return self._native(images)

    globals()[name] = BandloomBench
    return BandloomBench
