"""Opens plain rasters: one multi-band file, or a folder of single-band files at their own sampling."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.command_line.console import logger
from bandloom.errors import SceneError
from bandloom.rasters.validity import alpha_bands
from bandloom.sensors import SLOTS, Sensor, get_sensor
from bandloom.shards.scenes.agreed import stated_by_files
from bandloom.shards.scenes.bands import band_name, expand_order, lies_beside, names_of_stack, sensor_of
from bandloom.shards.scenes.cloud import CloudLayer, RasterCloud, scl_cloud
from bandloom.shards.scenes.grid import open_raster
from bandloom.shards.scenes.litter import is_litter
from bandloom.shards.scenes.options import SceneOptions
from bandloom.shards.scenes.raster import Bands, RasterScene
from bandloom.shards.scenes.readers.aws_tile import aws_tile_facts
from bandloom.shards.scenes.readers.marked import (
    Marked,
    MarkedScaled,
    l1c_cloud,
    l1c_cloud_file,
    quality_files,
    quality_of,
)
from bandloom.shards.scenes.readers.product import Product
from bandloom.shards.scenes.readers.quality import Quality
from bandloom.shards.scenes.scaled import ScaledScene
from bandloom.shards.scenes.stated import Stated, scaling_of

RASTER_SUFFIXES = (".tif", ".tiff", ".gtif", ".jp2", ".vrt")
_CLOUD_FILES = ("cloud_mask.tif",)
_SCL = re.compile(r"(?:^|[_\-. ])SCL(?:[_\-. ]?\d\dm)?$", re.IGNORECASE)  # of a file's stem


def open_stack(path: str | Path, options: SceneOptions) -> RasterScene:
    """Open a multi-band raster whose bands are described, or named by the options' ``band_map``."""
    told = get_sensor(options.sensor) if options.sensor else None
    stack = ExitStack()
    try:
        raster = stack.enter_context(open_raster(path))
        names, kept, left_out = _bands_of(raster, Path(path), options, told)
        told_sensor = sensor_of(Path(path), names, told)
        bands: Bands = {name: (raster, str(path), index) for name, index in kept}
        clouds = [index for name, index in left_out if name.upper().endswith("SCL")][:1]
        cloud = RasterCloud(raster, str(path), scl_cloud, clouds) if clouds else None
        scene = open_bands(Path(path).stem, str(path), told_sensor, bands, stack, options, cloud)
        _note_left_out(scene, [name for name, _ in left_out], bool(clouds))
        return scene
    except BaseException:
        stack.close()
        raise


def _bands_of(
    raster: Any, path: Path, options: SceneOptions, told: Sensor | None
) -> tuple[list[str], list[tuple[str, int]], list[tuple[str, int]]]:
    """Return names and indexes of a raster's bands that are to be read, and of those that are left out."""
    alphas = [index for index in alpha_bands(raster) if not band_name(raster.descriptions[index - 1] or "", told)]
    indexes = [index for index in raster.indexes if index not in alphas]
    described = [raster.descriptions[index - 1] for index in indexes]
    if options.bands and options.band_map is None and not any(described):
        options = replace(options, band_map=options.bands, bands=None)  # names for a file that has none are its order
    names = names_of_stack(path, described, options.band_map, told)
    if options.bands is not None or options.band_map is not None:
        kept = options.keeps(names, path)
    else:
        own = {band.name for band in told.bands} if told else set(SLOTS)
        kept = [name for name in names if name in own or not lies_beside(name)]
    pairs = list(zip(names, indexes, strict=True))
    return kept, [pair for pair in pairs if pair[0] in kept], [pair for pair in pairs if pair[0] not in kept]


def _note_left_out(scene: RasterScene, names: Sequence[str], clouds: bool) -> None:
    """Note in the scene's provenance which bands of a file are not read, and say it."""
    if names:
        scene.provenance["left_out"] = list(names)
        _say_left_out(scene.name, tuple(names), scene.sensor.name, clouds)


@lru_cache  # a scene is opened by every thread that reads it
def _say_left_out(name: str, names: tuple[str, ...], sensor: str, clouds: bool) -> None:
    taken = "; SCL tells the clouds" if clouds else ""
    logger.info("%s: left out %s, which are no bands of %s%s", name, ", ".join(names), sensor, taken)


def open_bands(
    name: str,
    path: str,
    sensor: Sensor,
    bands: Bands,
    stack: ExitStack,
    options: SceneOptions,
    cloud: CloudLayer | None = None,
    stated: Stated | None = None,
    quality: Mapping[str, Quality] | None = None,
) -> RasterScene:
    """Make a scene of plain rasters as their tags and the options say: how they scale, and what is absent."""
    stated = stated or stated_by_files(name, bands)
    stated, scaling = scaling_of(name, bands, options, stated)
    if scaling is None:
        kind = Marked if quality else RasterScene
        scene = kind(name, path, sensor, bands, stack, options.offset, cloud, stated, options.absent)
    else:
        told: Any = {"nodata": options.absent, "absent": None, "scaled_by": str(stated.provenance["scale_from"])}
        kind = MarkedScaled if quality else ScaledScene
        scene = kind(name, path, sensor, bands, stack, stated, scaling, cloud=cloud, **told)
    if quality and isinstance(scene, Marked):
        scene.mark_by(quality)
    return scene


def band_files(folder: Path, sensor: Sensor | None = None) -> dict[str, Path]:
    """Return the single-band rasters of a folder by band name (of Sentinel-2 unless told); other files are left alone.

    Raises:
        SceneError: two files name the same band.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        named = path.suffix.lower() in RASTER_SUFFIXES and not is_litter(path.name)
        name = band_name(path.stem, sensor) if named else None
        if name in files:
            raise SceneError(f"{folder} holds two files for band {name} ({files[name].name}, {path.name}); keep one.")
        if name:
            files[name] = path
    return files


def open_band_folder(folder: Path, options: SceneOptions) -> RasterScene:
    """Open a folder of single-band rasters named by band; each is read on its own grid."""
    told = get_sensor(options.sensor) if options.sensor else None
    files = band_files(folder, told)
    if options.band_map is not None:
        wanted = expand_order(options.band_map, told)
        files = {name: path for name, path in files.items() if name in wanted}
    files = {name: files[name] for name in options.keeps(list(files), folder)}
    stack = ExitStack()
    try:
        told_sensor = sensor_of(folder, list(files), told)
        bands = {n: (stack.enter_context(open_raster(p)), str(p), 1) for n, p in files.items()}
        mask, test = _cloud_file(folder)
        cloud = RasterCloud(stack.enter_context(open_raster(mask)), str(mask), test) if mask else None
        facts, quality = aws_tile_facts(folder), None
        masks = Product(folder / "qi") if facts is not None and (folder / "qi").is_dir() else None
        if masks is not None:
            quality, cloud = quality_of(masks, files, stack), cloud or l1c_cloud(masks, stack)
        known = masks is None or l1c_cloud_file(masks) or any(quality_files(masks, band) for band in files)
        _say_masks(folder.name, mask.name if mask else "", not known)
        return open_bands(folder.name, str(folder), told_sensor, bands, stack, options, cloud, facts, quality)
    except BaseException:
        stack.close()
        raise


def _cloud_file(folder: Path) -> tuple[Path | None, Callable[[np.ndarray], np.ndarray]]:
    """Return a folder's cloud mask and what reads it: Major TOM's, or else a scene classification."""
    for name in _CLOUD_FILES:
        if (folder / name).is_file():
            return folder / name, _marked
    rasters = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in RASTER_SUFFIXES]
    classified = [path for path in rasters if _SCL.search(path.stem) and not is_litter(path.name)]
    return min(classified, key=lambda path: "20m" not in path.stem, default=None), scl_cloud


@lru_cache  # a scene is opened by every thread that reads it
def _say_masks(name: str, mask: str, unread: bool) -> None:
    if mask and mask not in _CLOUD_FILES:
        logger.info("%s: %s tells the clouds", name, mask)
    if unread:
        logger.warning(
            "%s: its qi folder holds no mask of clouds, lost or saturated samples; the SAFE product has them", name
        )


def _marked(mask: np.ndarray) -> np.ndarray:
    """Read Major TOM's codes, which ours share: 1 thick cloud, 2 thin cloud, 3 shadow."""
    return np.isin(mask[0], (1, 2))
