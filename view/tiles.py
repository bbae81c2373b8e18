"""Map tiles (XYZ) and whole views, cut from rasters on demand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT

from bandloom.rasters.values import SATURATED
from bandloom.rasters.web_tiles import mercator_of, warped_crs
from bandloom.view.class_map import ClassMap
from bandloom.view.scene_bands import SceneBands

WEB_MERCATOR = CRS.from_epsg(3857)
Bounds = tuple[float, float, float, float]


def class_picture(
    class_map: ClassMap, bounds: Bounds, size: tuple[int, int], shown: set[int] | None = None
) -> np.ndarray:
    """Return a map's colours in a window, ``(H, W, 4)`` uint8, clear where it has nothing."""
    pixels = window_of(class_map.path, 1, bounds, size, Resampling.nearest, class_map.nodata)
    return class_map.palette(shown)[class_map.codes(pixels)]


def scene_picture(
    scene: SceneBands,
    names: Sequence[str],
    bounds: Bounds,
    size: tuple[int, int],
    how: Resampling = Resampling.bilinear,
    stretch: Mapping[str, tuple[float, float]] | None = None,
) -> np.ndarray:
    """Return three bands as red, green and blue in a window, ``(H, W, 4)`` uint8, clear where one of them is absent."""
    planes, measured = [], np.ones(size, bool)
    for name in names:
        low, high = (stretch or scene.stretch)[name]
        values = scene_window(scene, name, bounds, size, how)
        planes.append(np.clip((values.astype(np.float32) - low) / (high - low), 0, 1) * 255)
        measured &= (values > 0) & (values < SATURATED)
    return np.dstack([*planes, measured * 255]).astype(np.uint8)


def local_stretch(
    scene: SceneBands, names: Sequence[str], bounds: Bounds, percentiles: tuple[float, float], side: int = 64
) -> dict[str, tuple[float, float]]:
    """Return the digital numbers of each band that are shown as black and white, from what is measured in a window."""
    ranges = {}
    for name in names:
        values = scene_window(scene, name, bounds, (side, side), Resampling.nearest)
        seen = values[(values > 0) & (values < SATURATED)]
        low, high = np.percentile(seen, percentiles) if seen.size else scene.stretch[name]
        ranges[name] = float(low), float(max(high, low + 1))
    return ranges


def class_means(class_map: ClassMap, scene: SceneBands, side: int = 256) -> dict[int, dict[str, float]]:
    """Return the mean digital number of each band over each class, from ``side * side`` places of the map."""
    bounds = mercator_of(class_map.bounds)
    codes = class_map.keys(window_of(class_map.path, 1, bounds, (side, side), Resampling.nearest, class_map.nodata))
    means: dict[int, dict[str, float]] = {land_class.value: {} for land_class in class_map.classes}
    for band in scene.bands.values():
        values = scene_window(scene, band.name, bounds, (side, side), Resampling.nearest)
        seen = (values > 0) & (values < SATURATED)
        for code, held in means.items():
            here = values[seen & (codes == code)]
            if here.size:
                held[band.name] = round(float(here.mean()), 1)
    return means


def scene_window(scene: SceneBands, name: str, bounds: Bounds, size: tuple[int, int], how: Resampling) -> np.ndarray:
    """Warp one band into a window; a pixel is of the first scene of a mosaic that measured it."""
    values: np.ndarray | None = None
    for part in scene.parts:
        band = part.bands[name]
        own = window_of(band.file, band.index, bounds, size, how)
        values = own if values is None else np.where((values > 0) & (values < SATURATED), values, own)
        if ((values > 0) & (values < SATURATED)).all():
            break
    return np.zeros(size, np.uint16) if values is None else values


def window_of(
    path: str | Path, index: int, bounds: Bounds, size: tuple[int, int], how: Resampling, absent: float | None = None
) -> np.ndarray:
    """Warp one band into a window; GDAL takes the overview that is fine enough. What is absent: the file's, or 0."""
    height, width = size
    grid = from_bounds(*bounds, width, height)
    with rasterio.open(path) as source:
        if absent is None:
            absent = int(source.nodata or 0)
        with WarpedVRT(
            source,
            src_crs=warped_crs(source),
            crs=WEB_MERCATOR,
            transform=grid,
            width=width,
            height=height,
            resampling=how,
            src_nodata=absent,
            nodata=absent,
        ) as view:
            return view.read(index)
