"""Pictures of a sample: its bands and masks side by side, and its facts in a table."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.files.output import new_output
from bandloom.rasters.values import dn_to_reflectance, valid
from bandloom.shards.read.shard_set import Sample, ShardSet

_COMPOSITES = (
    ("true colour", ("B04", "B03", "B02")),
    ("near infrared", ("B08", "B04", "B03")),
    ("near infrared", ("B8A", "B04", "B03")),
    ("short-wave infrared", ("B12", "B8A", "B04")),
)
_GAP_PX, _LEAST_SIDE_PX = 6, 240
_STRETCH = (2, 98)  # percent of the measured values that are shown between black and white
_CLOUD, _ABSENT, _NO_CLASS = (255, 255, 255), (160, 32, 96), (24, 24, 24)


def facts(shards: ShardSet, index: int) -> Iterator[tuple[str, str]]:
    """Yield what is known of a sample, a line each."""
    entry, sample = shards.entries[index], shards.read(index)
    yield "sensor, split", f"{entry.sensor}, {entry.split}"
    yield "place", f"EPSG:{entry.epsg} x {entry.x_m:.0f} y {entry.y_m:.0f}, {entry.side_px * 10} m"
    yield "time", entry.datetime or "not known"
    cloud = "not known" if entry.cloud_fraction is None else f"{entry.cloud_fraction:.1%}"
    yield "valid, cloud", f"{entry.valid_fraction:.1%}, {cloud}"
    yield "file", entry.shard
    if shards.label_set and entry.class_index is not None:
        yield "class", shards.label_set.names[entry.class_index]
    if shards.label_set and sample.label is not None:
        counts = np.bincount(sample.label[sample.label != IGNORE_INDEX].ravel(), minlength=len(shards.label_set.names))
        yield (
            "labels",
            ", ".join(
                f"{name} {n / sample.label.size:.1%}"
                for name, n in zip(shards.label_set.names, counts, strict=True)
                if n
            ),
        )
    for group in sample.sensor.groups:
        for band, pixels in zip(group.bands, sample.groups[group.gsd_m], strict=True):
            seen = dn_to_reflectance(pixels[valid(pixels)])
            told = f"{seen.min():.4f} .. {seen.max():.4f}, mean {seen.mean():.4f}" if seen.size else "absent"
            yield f"{band.name} ({group.gsd_m} m)", told


def draw(shards: ShardSet, index: int, path: Path) -> list[str]:
    """Write a PNG of a sample's panels from left to right and return their names.

    Raises:
        OutputError: the picture exists or cannot be written.
    """
    drawn = panels(shards, index)
    side = max(panel.shape[0] for panel in drawn.values())
    factor = max(1, -(-_LEAST_SIDE_PX // side))
    gap = np.full((side * factor, _GAP_PX, 3), 255, np.uint8)
    row: list[np.ndarray] = []
    for panel in drawn.values():
        row += [panel.repeat(factor, 0).repeat(factor, 1), gap]
    write_png(path, np.concatenate(row[:-1], 1))
    return list(drawn)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write ``(H, W, 3)`` uint8 as a PNG.

    Raises:
        OutputError: the picture exists or cannot be written.
    """
    height, width, count = pixels.shape
    with new_output(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(temporary, "w", "PNG", width, height, count, dtype="uint8") as file:
            file.write(np.moveaxis(pixels, -1, 0))


def panels(shards: ShardSet, index: int) -> dict[str, np.ndarray]:
    """Return ``(H10, W10, 3)`` uint8 pictures by name."""
    sample, side = shards.read(index), shards.entries[index].side_px
    bands = _bands(sample, side)
    cloud = shards.mask(index, "cloud")
    clear = np.ones((side, side), bool) if cloud is None or cloud.all() else cloud == 0
    drawn: dict[str, np.ndarray] = {}
    for name, slots in _COMPOSITES:
        if name not in drawn and all(slot in bands for slot in slots):
            drawn[name] = _composite([bands[slot] for slot in slots], clear)
    if not drawn:
        slot, pixels = next(iter(bands.items()))
        drawn[slot] = _composite([pixels] * 3, clear)
    if cloud is not None:
        drawn["cloud"] = np.where(cloud[..., None] > 0, np.array(_CLOUD, np.uint8), next(iter(drawn.values())) // 2)
    if sample.label is not None and shards.label_set is not None:
        drawn["label"] = _coloured(sample.label, shards.label_set)
    return drawn


def _bands(sample: Sample, side: int) -> dict[str, np.ndarray]:
    """Return every band by slot, repeated to the 10 m grid."""
    bands = {}
    for group in sample.sensor.groups:
        at = (np.arange(side) * 10 + 5) // group.gsd_m  # the pixel of the group under each 10 m pixel's centre
        for slot, pixels in zip(group.slots, sample.groups[group.gsd_m], strict=True):
            bands[slot] = pixels[at][:, at]
    return bands


def _composite(channels: list[np.ndarray], clear: np.ndarray) -> np.ndarray:
    """Stretch three bands to bytes, each by its clear pixels; what is absent in any of them stands out."""
    out = np.empty((*channels[0].shape, 3), np.uint8)
    seen = np.all([valid(band) for band in channels], 0)
    for k, band in enumerate(channels):
        told = band[seen & clear] if (seen & clear).any() else band[seen]
        low, high = np.percentile(told, _STRETCH) if told.size else (0, 1)
        out[..., k] = np.clip((band - float(low)) / max(1.0, float(high - low)) * 255, 0, 255)
    out[~seen] = _ABSENT
    return out


def _coloured(label: np.ndarray, label_set: Any) -> np.ndarray:
    colours = [tuple(int(land_class.colour[i : i + 2], 16) for i in (1, 3, 5)) for land_class in label_set.classes]
    lookup = np.array(colours + [_NO_CLASS] * (256 - len(colours)), np.uint8)
    return lookup[label]
