"""From the arrays of one sample to a scene in memory: validity, offset, native groups, how they were upsampled."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from bandloom.errors import SceneError
from bandloom.rasters.values import NODATA, OFFSET, SATURATED, SCALE, valid
from bandloom.sensors import SLOT_GSD_M, BandGroup, Sensor
from bandloom.shards.corpora.blocks import begins_at, common_phase, phase_of
from bandloom.shards.corpora.offset import settle_offset
from bandloom.shards.scenes.bands import sensor_of
from bandloom.shards.scenes.grid import block_means, is_utm
from bandloom.shards.scenes.in_memory import ArrayScene
from bandloom.shards.scenes.offset import to_convention
from bandloom.shards.scenes.probe import check_reflectance
from bandloom.shards.scenes.scene import ALIGN_M

PIXEL_M = 10
_THIN = 4  # every fourth pixel of a band is looked at for offset and plausibility
_FULL = np.iinfo(np.int16).max  # a signed set's brightest value: what was brighter is cut off at it
_CLOUDS = (1, 2)  # SEnSeIv2's codes, which Major TOM and SSL4EO-S12 share: 1 thick, 2 thin, 3 shadow


@dataclass(frozen=True)
class Chip:
    """The arrays of one sample as its container stores them.

    Attributes:
        name: its address, for messages.
        bands: ``(H, W)`` integers by Sentinel-2 band, each on its own grid or all on the one of 10 m.
        crs: a UTM zone.
        corner: easting and northing of the upper-left corner, metres.
        time: of acquisition, UTC.
        stated: the offset that product or table state, and which of them; None where the set mixes.
        cloud: ``(H10, W10)`` codes of SEnSeIv2, where there are any.
    """

    name: str
    bands: Mapping[str, np.ndarray]
    crs: CRS
    corner: tuple[float, float]
    time: dt.datetime | None = None
    stated: tuple[int, str] | None = None
    cloud: np.ndarray | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def chip_scene(chip: Chip, told: int | None = None) -> ArrayScene:
    """Return a chip as a scene of native band groups; what was done is in its provenance.

    Args:
        chip: the arrays.
        told: the offset that the user states for samples that cannot be decided.

    Raises:
        SceneError: type, size, place, values or offset cannot be used.
    """
    sensor = sensor_of(Path(chip.name), list(chip.bands), None)
    if not chip.crs or not is_utm(chip.crs) or not np.isfinite(chip.corner).all():
        raise SceneError(f"{chip.name} does not lie in a UTM zone ({chip.crs or 'no place'}); leave it out.")
    planes = {name: _integers(chip.name, name, plane) for name, plane in chip.bands.items()}
    provenance: dict[str, Any] = {"source": chip.name, "sensor": sensor.name, **chip.facts}
    height, width = max(plane.shape for plane in planes.values())
    _check_sizes(chip.name, planes, height, width)
    offset = _settle(chip, sensor, planes, told, provenance)
    if offset == -OFFSET:
        planes = _without_shifted_zeros(planes, provenance)
    corner_px, groups = _native(sensor, planes, height, offset, provenance)
    rows, columns = height - corner_px[0], width - corner_px[1]
    cloud = None
    if chip.cloud is not None:
        if chip.cloud.shape != (height, width):
            raise SceneError(
                f"{chip.name} has a cloud mask of {chip.cloud.shape} pixels; expected {(height, width)}: leave it out."
            )
        cloud = _cells(np.isin(chip.cloud, _CLOUDS)[None], corner_px, PIXEL_M)[0]
    x_m, y_m = chip.corner[0] + corner_px[1] * PIXEL_M, chip.corner[1] - corner_px[0] * PIXEL_M
    return ArrayScene(
        sensor,
        groups,
        float(rows * PIXEL_M),
        float(columns * PIXEL_M),
        chip.crs,
        Affine(PIXEL_M, 0, x_m, 0, -PIXEL_M, y_m),
        Path(chip.name).name,
        chip.time,
        provenance,
        cloud,
    )


def _integers(name: str, band: str, plane: np.ndarray) -> np.ndarray:
    """Return a band as uint16 with absent samples 0 and saturated ones 65535.

    Raises:
        SceneError: it holds anything but integers of 16 bits, or negative ones.
    """
    if plane.ndim != 2 or plane.dtype not in (np.dtype(np.uint16), np.dtype(np.int16)):
        raise SceneError(
            f"{name} stores band {band} as {plane.dtype} of shape {plane.shape}; expected (rows,"
            " columns) of 16-bit integers, no picture and no float: take that edition."
        )
    if plane.dtype == np.int16:
        if plane.size and plane.min() < 0:
            raise SceneError(f"{name} holds {plane.min()} in band {band}; expected no negative value.")
        full = plane.size and plane.max() == _FULL
        plane = plane.view(np.uint16)
        plane = np.where(plane == _FULL, np.uint16(SATURATED), plane) if full else plane
    return plane


def _check_sizes(name: str, planes: Mapping[str, np.ndarray], height: int, width: int) -> None:
    for band, plane in planes.items():
        native = SLOT_GSD_M[band] // PIXEL_M
        shapes = {(height, width), (height // native, width // native)}
        if plane.shape not in shapes or (plane.shape != (height, width) and (height % native or width % native)):
            raise SceneError(
                f"{name} has {plane.shape[0]} x {plane.shape[1]} pixels in band {band}, {height} x {width} in"
                f" the finest; expected {' or '.join(f'{a} x {b}' for a, b in sorted(shapes))}."
            )


def _settle(
    chip: Chip, sensor: Sensor, planes: Mapping[str, np.ndarray], told: int | None, provenance: dict[str, Any]
) -> int:
    thin = {name: _thinned(plane) for name, plane in planes.items()}
    everything = np.concatenate(list(thin.values()))
    if not everything.size:
        raise SceneError(f"{chip.name} is all nodata; leave it out.")
    offset = settle_offset(chip.name, chip.stated, told, thin.get("B10"), everything, provenance)
    measured = {name: (values.astype(np.float64) + offset) / SCALE for name, values in thin.items()}
    check_reflectance(chip.name, sensor, measured, provenance["offset_from"], offset == 0)
    return offset


def _thinned(plane: np.ndarray) -> np.ndarray:
    thin = plane[::_THIN, ::_THIN] if min(plane.shape) > 16 * _THIN else plane
    return thin[valid(thin)]


def _without_shifted_zeros(planes: dict[str, np.ndarray], provenance: dict[str, Any]) -> dict[str, np.ndarray]:
    """Mark pixels absent that hold exactly 1000 in every band: zeros to which the offset was added.

    Whether a set has any is counted for each sample (``exact_1000``), as exact zeros are (``exact_0``).
    """
    provenance["exact_0"] = int(sum(plane.size - np.count_nonzero(plane) for plane in planes.values()))
    shapes = {plane.shape for plane in planes.values()}
    if len(shapes) > 1:
        provenance["exact_1000"] = int(sum((plane == OFFSET).sum() for plane in planes.values()))
        return planes
    stack = iter(planes.values())
    shifted = next(stack) == OFFSET
    for plane in stack:
        if not shifted.any():
            break
        shifted &= plane == OFFSET
    provenance["exact_1000"] = int(shifted.sum())
    return (
        {name: np.where(shifted, np.uint16(NODATA), plane) for name, plane in planes.items()}
        if shifted.any()
        else planes
    )


def _native(
    sensor: Sensor, planes: Mapping[str, np.ndarray], height: int, offset: int, provenance: dict[str, Any]
) -> tuple[tuple[int, int], dict[int, np.ndarray]]:
    """Return the corner of the native grid in pixels of 10 m, and ``{gsd_m: (C, H, W)}`` in whole cells of 60 m."""
    stacked = {
        group.gsd_m: [planes[band.name] for band in group.bands]
        for group in sensor.groups
        if group.gsd_m > PIXEL_M and any(len(planes[band.name]) == height for band in group.bands)
    }
    phases = {
        gsd_m // PIXEL_M: phase_of([plane for plane in own if len(plane) == height], gsd_m // PIXEL_M)
        for gsd_m, own in stacked.items()
    }
    flat = {gsd_m // PIXEL_M for gsd_m, own in stacked.items() if all(plane.min() == plane.max() for plane in own)}
    corner = common_phase({factor: phase for factor, phase in phases.items() if factor not in flat})
    phases |= dict.fromkeys(flat, corner)  # bands of one value are copies at any phase
    upsampled: dict[str, str] = {}
    groups = {}
    for group in sensor.groups:
        factor = group.gsd_m // PIXEL_M
        copied = begins_at(phases.get(factor), factor, corner)
        if factor in phases:
            upsampled[group.name] = "nearest" if copied else "interpolated by the source"
        groups[group.gsd_m] = _group(group, planes, height, corner, copied, offset)
    provenance["upsampled_by"] = upsampled or "none"
    if corner != (0, 0):
        provenance["phase_px"] = list(corner)
    return corner, groups


def _group(
    group: BandGroup,
    planes: Mapping[str, np.ndarray],
    height: int,
    corner: tuple[int, int],
    copied: bool,
    offset: int,
) -> np.ndarray:
    """Return ``(C, H, W)`` of one group: as stored, by taking one of its copies, or by means over its blocks."""
    factor = group.gsd_m // PIXEL_M
    own = [planes[band.name] for band in group.bands]
    native = factor > 1 and len(own[0]) != height
    if len({plane.shape for plane in own}) > 1 or (native and corner != (0, 0)):
        raise SceneError(f"the bands of {group.gsd_m} m lie on different grids; leave the sample out.")
    if copied:
        own = [plane[corner[0] :: factor, corner[1] :: factor] for plane in own]
    stack = to_convention(np.stack(own), offset)
    if native or copied:
        return _cells(stack, (0, 0), group.gsd_m)
    return block_means(_cells(stack, corner, PIXEL_M), factor)


def _cells(stack: np.ndarray, corner: tuple[int, int], gsd_m: int) -> np.ndarray:
    """Return ``(C, H, W)`` from a corner on, filled up with absent samples to whole cells of 60 m."""
    stack = stack[:, corner[0] :, corner[1] :]
    cell = ALIGN_M // gsd_m
    rows, columns = (-size % cell for size in stack.shape[1:])
    return np.pad(stack, [(0, 0), (0, rows), (0, columns)]) if rows or columns else stack
