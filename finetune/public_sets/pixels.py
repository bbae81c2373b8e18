"""From the pixels of a published set to a scene: GeoTIFF stacks of a known order, and arrays."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from bandloom.errors import SceneError
from bandloom.finetune.public_sets.public_set import Facts
from bandloom.rasters.values import OFFSET, SCALE, reflectance_to_dn, valid
from bandloom.sensors import Sensor, get_sensor
from bandloom.shards.scenes import ALIGN_M, Scene, SceneOptions, open_scene
from bandloom.shards.scenes.grid import block_means
from bandloom.shards.scenes.in_memory import ArrayScene
from bandloom.shards.scenes.offset import to_convention
from bandloom.shards.scenes.probe import check_lost_nodata, check_lowest, check_reflectance

SHIFTED_B10 = 900 + OFFSET  # B10's first percentile in the convention where a +1000 of the source is still in


def open_tif(path: str, facts: Facts, sensor: str | None = None) -> Scene:
    """Open a GeoTIFF stack in the order and with the offset of a set's record.

    Raises:
        SceneError: it has other bands or values than the record says.
    """
    options = SceneOptions(sensor or facts.sensor, ",".join(facts.bands), facts.offset)
    scene = open_scene(path, options)
    try:
        check_cirrus(scene, facts)
    except BaseException:
        scene.close()
        raise
    return scene


def check_cirrus(scene: Scene, facts: Facts) -> None:
    """Refuse a chip whose B10 says that an offset is in its values which the set's record does not know of.

    Raises:
        SceneError: naming the percentile.
    """
    group = next((group for group in scene.sensor.groups if "B10" in group.slots), None)
    if group is None:
        return
    height, width = (-(-side // ALIGN_M) * ALIGN_M for side in (scene.height_m, scene.width_m))
    seen = scene.read((0, 0, width, height))[group.gsd_m][group.slots.index("B10")]
    seen = seen[valid(seen)]
    if seen.size and np.percentile(seen, 1) > SHIFTED_B10:
        raise SceneError(
            f"{scene.name}: B10 starts at {np.percentile(seen, 1) - OFFSET:.0f}, so 1000 was added to its values, which"
            f" {facts.title} is published without; read it with --form folders or mask, and --offset -1000."
        )


def scene_of_dn(
    values: np.ndarray,
    sensor: Sensor | str,
    bands: Sequence[str],
    name: str,
    *,
    offset: int = 0,
    known: np.ndarray | None = None,
    crs: CRS | None = None,
    transform: Affine | None = None,
    datetime: dt.datetime | None = None,
) -> Scene:
    """Return a scene of stored integers on the sensor's finest grid; coarser bands are averaged over their own pixels.

    Args:
        values: ``(C, H, W)`` integers; 0 is absent unless ``known`` says otherwise.
        sensor: whose bands they are, or its name; bands that it does not have are left out.
        bands: names of the C bands in their order.
        name: for messages.
        offset: what to add to get ``10000 * reflectance``.
        known: bool of the same shape, True where a sample was measured.
        crs: where it is known; else the scene has no place.
        transform: of the finest grid.
        datetime: of the acquisition, where it is known.

    Raises:
        SceneError: the bands or values are not the sensor's.
    """
    sensor = get_sensor(sensor) if isinstance(sensor, str) else sensor
    if values.ndim != 3 or len(values) != len(bands):
        raise SceneError(
            f"{name} holds an array of {values.shape}; expected {len(bands)} bands first: {', '.join(bands)}."
        )
    measured = values != 0 if known is None else known
    _check(values, measured, sensor, bands, name, offset)
    dn = to_convention(values, offset, measured)
    return _scene(dn, sensor, bands, name, crs, transform, datetime)


def scene_of_reflectance(
    values: np.ndarray,
    sensor: Sensor | str,
    bands: Sequence[str],
    name: str,
    *,
    known: np.ndarray | None = None,
    crs: CRS | None = None,
    transform: Affine | None = None,
    datetime: dt.datetime | None = None,
) -> Scene:
    """Return a scene of reflectances ``(C, H, W)`` as floats; NaN is absent, and 0 unless ``known`` says otherwise.

    Raises:
        SceneError: the bands or values are not the sensor's.
    """
    sensor = get_sensor(sensor) if isinstance(sensor, str) else sensor
    if values.ndim != 3 or len(values) != len(bands):
        raise SceneError(
            f"{name} holds an array of {values.shape}; expected {len(bands)} bands first: {', '.join(bands)}."
        )
    measured = np.isfinite(values) & ((values != 0) if known is None else known)
    _check(np.where(measured, values, 0) * SCALE, measured, sensor, bands, name, 0)
    dn = reflectance_to_dn(np.where(measured, values, np.nan))
    return _scene(dn, sensor, bands, name, crs, transform, datetime)


def scene_of_native(
    bands: Mapping[str, np.ndarray],
    sensor: Sensor,
    name: str,
    *,
    crs: CRS | None = None,
    transform: Affine | None = None,
) -> Scene:
    """Return a scene of reflectances ``(H, W)`` by band, each group at its own sampling; NaN is absent.

    Raises:
        SceneError: a group's bands differ in size, groups do not cover the same ground, or the values cannot be.
    """
    samples = {band: np.where(np.isfinite(plane), plane, np.nan).ravel() * SCALE for band, plane in bands.items()}
    _check_samples(samples, sensor, name, 0)
    groups, sizes = {}, {}
    for group in sensor.groups:
        planes = [bands[band.name] for band in group.bands]
        if len({plane.shape for plane in planes}) > 1:
            raise SceneError(f"{name} holds bands of {group.gsd_m} m that differ in size; fetch it again.")
        sizes[group.gsd_m] = tuple(side * group.gsd_m for side in planes[0].shape)
        cell = ALIGN_M // group.gsd_m
        dn = reflectance_to_dn(np.stack(planes).astype(np.float64))
        groups[group.gsd_m] = np.pad(dn, [(0, 0), *((0, -side % cell) for side in planes[0].shape)])
    height, width = sizes[min(sizes)]
    if any(abs(h - height) >= ALIGN_M or abs(w - width) >= ALIGN_M for h, w in sizes.values()):
        raise SceneError(f"{name} holds bands that cover {sizes} m by sampling; expected one ground: fetch it again.")
    finest_m = min(groups)
    placed: dict[str, Any] = {"crs": crs or CRS(), "transform": transform or Affine.scale(finest_m, -finest_m)}
    scene = ArrayScene(sensor, groups, height, width, name=name, provenance=_provenance(name, sensor), **placed)
    return cast(Scene, scene)


def median_of_dates(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median over dates of what was measured, and where anything was.

    Args:
        values: ``(T, C, H, W)``; of an even number of dates the mean of the middle two.
        known: bool of the same shape.

    Returns:
        ``(C, H, W)`` float64, 0 where nothing was measured, and bool.
    """
    seen = np.asarray(known.any(0))
    dated = np.where(known, values.astype(np.float64), np.nan)
    dated[:, ~seen] = 0
    return np.nanmedian(dated, 0), seen


def _check(values: np.ndarray, known: np.ndarray, sensor: Sensor, bands: Sequence[str], name: str, offset: int) -> None:
    """Refuse values that are no reflectance, as scenes from files are."""
    missing = [band.name for band in sensor.bands if band.slot and band.name not in bands]
    if missing:
        raise SceneError(f"{name} lacks {', '.join(missing)} of {sensor.name!r}.")
    wanted = [bands.index(band.name) for band in sensor.bands if band.slot]
    samples = {bands[i]: np.where(known[i], values[i], np.nan).ravel() for i in wanted}
    _check_samples(samples, sensor, name, offset)


def _check_samples(samples: Mapping[str, np.ndarray], sensor: Sensor, name: str, offset: int) -> None:
    """Refuse stored values by band, NaN where absent, that are no reflectance."""
    measured = {band: plane[np.isfinite(plane)] for band, plane in samples.items()}
    everything = np.concatenate(list(measured.values()))
    if not everything.size:
        raise SceneError(f"{name} is all nodata; leave it out, or check its nodata value.")
    check_lost_nodata(name, samples, -OFFSET - offset)
    check_lowest(name, everything, -OFFSET - offset)
    reflectance = {band: (plane + offset) / SCALE for band, plane in measured.items()}
    check_reflectance(name, sensor, reflectance, "the set's record", offset == 0)


def _provenance(name: str, sensor: Sensor) -> dict[str, Any]:
    return {"source": name, "sensor": sensor.name, "offset": 0, "offset_from": "the set's record"}


def _scene(
    dn: np.ndarray,
    sensor: Sensor,
    bands: Sequence[str],
    name: str,
    crs: CRS | None,
    transform: Affine | None,
    datetime: dt.datetime | None,
) -> Scene:
    finest_m = sensor.groups[0].gsd_m
    cell = ALIGN_M // finest_m
    height, width = dn.shape[1:]
    filled = np.pad(dn, [(0, 0), (0, -height % cell), (0, -width % cell)])
    groups = {
        group.gsd_m: block_means(filled[[bands.index(band.name) for band in group.bands]], group.gsd_m // finest_m)
        for group in sensor.groups
    }
    placed: dict[str, Any] = {"crs": crs or CRS(), "transform": transform or Affine.scale(finest_m, -finest_m)}
    provenance = _provenance(name, sensor)
    scene = ArrayScene(
        sensor,
        groups,
        height * finest_m,
        width * finest_m,
        name=name,
        datetime=datetime,
        provenance=provenance,
        **placed,
    )
    return cast(Scene, scene)
