"""Rasters that a corpus stores as bytes, or as small files: their pixels with place, read strictly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from bandloom.errors import SceneError, said
from bandloom.shards.scenes.bands import sentinel2_name
from bandloom.shards.scenes.checksums import check_beside
from bandloom.shards.scenes.grid import nominal_gsd_m

_OFF = 0.01  # of a pixel that corners of bands may differ by
_CONTENT_LIMIT_BYTES = 2**28
_SIDE_LIMIT_PX = 20_000


@dataclass(frozen=True)
class Pixels:
    """The bands ``(C, H, W)`` of a raster and where they lie."""

    values: np.ndarray
    crs: CRS
    transform: Affine
    descriptions: tuple[str | None, ...] = ()


def read_raster_bytes(content: bytes, name: str, nodata: Sequence[float | None] = (None, 0)) -> Pixels:
    """Return the pixels of a raster's bytes; ``nodata`` is what it may state.

    Raises:
        SceneError: they are no whole raster.
    """
    if not content or len(content) > _CONTENT_LIMIT_BYTES:
        raise SceneError(f"{name} holds {len(content)} bytes; expected a GeoTIFF: fetch it again.")
    try:
        with MemoryFile(content) as file, file.open() as raster:
            if max(raster.shape) > _SIDE_LIMIT_PX:
                raise SceneError(f"{name} states {raster.shape} pixels, which no sample has; it is damaged.")
            _check_plain(raster, name, nodata)
            return Pixels(raster.read(), raster.crs or CRS(), raster.transform, raster.descriptions)
    except (RasterioError, ValueError, OverflowError, MemoryError) as cause:
        raise SceneError(
            f"{name} cannot be read as a raster ({said(cause)}); it is damaged: fetch it again."
        ) from cause


def _check_plain(raster: Any, name: str, may_be: Sequence[float | None]) -> None:
    """Refuse what would have to be done to values, or hides some of them: published samples are plain numbers.

    Raises:
        SceneError: the raster states another nodata than it may be, a scale, an offset, or a mask of its own.
    """
    if any(nodata not in may_be for nodata in raster.nodatavals):
        raise SceneError(f"{name} states nodata {raster.nodatavals[0]}; expected none, or 0: leave it out.")
    if any(scale != 1 for scale in raster.scales) or any(raster.offsets):
        raise SceneError(
            f"{name} states scale {raster.scales[0]:g} and offset {raster.offsets[0]:g}; expected plain values, as the"
            " set is published: take that edition."
        )
    if any(MaskFlags.per_dataset in flags for flags in raster.mask_flag_enums):
        raise SceneError(f"{name} carries a mask or an alpha band, which no sample of the set does; leave it out.")


def read_raster_file(path: Path) -> Pixels:
    """Return the pixels of a small raster file.

    Raises:
        SceneError: it is absent, not what a checksum beside it says, or no whole raster.
    """
    try:
        check_beside(path)
        content = path.read_bytes()
    except OSError as cause:
        raise SceneError(f"{path} cannot be read ({cause.strerror}); fetch it again.") from cause
    return read_raster_bytes(content, str(path))


def one_place(name: str, bands: Mapping[str, Pixels]) -> tuple[CRS, tuple[float, float]]:
    """Return the coordinate system and upper-left corner that all bands of a sample share.

    Raises:
        SceneError: they differ, or a band has more than one layer or is not north-up.
    """
    first = next(iter(bands.values()))
    for band, pixels in bands.items():
        t = pixels.transform
        if len(pixels.values) != 1 or not pixels.crs or t.b or t.d or t.a <= 0 or t.e >= 0:
            raise SceneError(f"{name}: band {band} is no north-up raster of one layer with a place; leave it out.")
        off_m = max(abs(t.c - first.transform.c), abs(t.f - first.transform.f))
        sizes = [round(nominal_gsd_m(p.transform.a, name) * p.values.shape[2]) for p in (first, pixels)]
        if pixels.crs != first.crs or off_m > _OFF * 10 or sizes[0] != sizes[1]:
            raise SceneError(f"{name}: band {band} lies elsewhere than the others ({off_m:.1f} m off); leave it out.")
    return first.crs, (first.transform.c, first.transform.f)


def stack_on_10_m(
    pixels: Pixels, order: Sequence[str], name: str
) -> tuple[dict[str, np.ndarray], CRS, tuple[float, float]]:
    """Return the bands of a raster of 10 m by name, its coordinate system and its upper-left corner.

    Raises:
        SceneError: it has another number of bands, names them in another order, is not north-up, or has other pixels.
    """
    t = pixels.transform
    if len(pixels.values) != len(order):
        raise SceneError(f"{name} has {len(pixels.values)} bands; expected {len(order)} (B1 to B12): leave it out.")
    sides = (t.a, -t.e)
    if not pixels.crs or t.b or t.d or min(sides) <= 0 or any(nominal_gsd_m(side, name) != 10 for side in sides):
        raise SceneError(f"{name} is no north-up raster of 10 m with a place; leave it out.")
    named = [(sentinel2_name(word), band) for word, band in zip(pixels.descriptions, order, strict=False) if word]
    if any(own is not None and own != band for own, band in named):
        words = ", ".join(map(str, pixels.descriptions))
        raise SceneError(f"{name} names its bands {words}; expected {', '.join(order)} in order: leave it out.")
    return dict(zip(order, pixels.values, strict=True)), pixels.crs, (t.c, t.f)
