"""Uploads: counted as they arrive, and measured by what they declare before a pixel is read."""

import asyncio
import contextlib
import math
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request
from rasterio.errors import RasterioError

from bandloom.export.serve.limits import MB, Limits
from bandloom.rasters.cut_short import open_whole

MEDIA_TYPES = ("image/tiff", "image/geotiff", "application/octet-stream")
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LINGER_S = 1.0
FARTHEST = 1e8  # metres or degrees from a coordinate system's origin
SMALLEST, LARGEST = 1e-7, 1e5  # sides of a pixel, in metres or degrees
SAMPLE_BYTES = {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "float32": 4, "float64": 8}


async def receive(request: Request, path: Path, limits: Limits) -> None:
    """Write the body to ``path``, no more of it than is allowed and no longer than there is time.

    Raises:
        HTTPException: 408, 413 or 422.
        ClientDisconnect: the client went away.
    """
    got = 0
    try:
        async with asyncio.timeout(limits.body_s):
            with path.open("wb") as file:
                async for chunk in request.stream():
                    got += len(chunk)
                    if got > limits.upload_mb * MB:
                        raise _too_large(limits)
                    file.write(chunk)
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {limits.body_s:g} s.") from None
    if not got:
        raise HTTPException(422, "the body is empty; send a GeoTIFF.")


async def discard(request: Request) -> None:
    """Let a client that is refused finish sending, for a while: one that still writes would lose the refusal."""
    with contextlib.suppress(TimeoutError, RuntimeError):  # RuntimeError: it was read already
        async with asyncio.timeout(LINGER_S):
            async for _ in request.stream():
                pass


def check_head(request: Request, limits: Limits) -> None:
    """Refuse by the request's head alone what its body cannot mend.

    Raises:
        HTTPException: 415 or 413.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise HTTPException(415, f"the body's type is {kind!r}; send a GeoTIFF as {MEDIA_TYPES[0]}.")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limits.upload_mb * MB:
        raise _too_large(limits)


def check_raster(path: Path, limits: Limits) -> None:
    """Refuse a file that is no GeoTIFF, or that declares more than may be decompressed; reads its head alone.

    Only GDAL's GTiff driver is let near it: others read what a file names (VRT) or fetch it.

    Raises:
        HTTPException: 415, 422 or 413.
    """
    with path.open("rb") as file:
        if file.read(4) not in TIFF_MAGIC:
            raise HTTPException(415, "the body is no TIFF; send a GeoTIFF.")
    try:
        with open_whole(path, driver="GTiff") as raster:
            bands, kind = raster.count, raster.dtypes[0]
            sample = SAMPLE_BYTES.get(kind)
            if sample is None:
                raise HTTPException(422, f"the GeoTIFF holds {kind}; expected uint16 values of the product.")
            whole = raster.width * raster.height * bands * sample
            together = bands if raster.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "PIXEL" else 1
            block = max(math.prod(shape) for shape in raster.block_shapes) * together * sample
            _check_place(raster)
    except RasterioError as cause:
        raise HTTPException(422, f"the GeoTIFF cannot be opened ({first_line(cause)}); it may be truncated.") from None
    if bands > limits.bands:
        raise HTTPException(422, f"the GeoTIFF has {bands} bands; at most {limits.bands} are taken.")
    if whole > limits.raster_mb * MB:
        raise HTTPException(413, f"the GeoTIFF declares {whole / MB:,.0f} MB of pixels; at most {limits.raster_mb:,}.")
    if block > limits.block_mb * MB:
        raise HTTPException(413, f"the GeoTIFF has blocks of {block / MB:,.0f} MB; at most {limits.block_mb:,}.")


def _check_place(raster: Any) -> None:
    """Refuse what is not on Earth: far coordinates and made-up projections keep PROJ in loops without end.

    Raises:
        HTTPException: 422.
    """
    if raster.crs is None or raster.crs.to_epsg() is None:
        raise HTTPException(422, "the GeoTIFF has no coordinate system with an EPSG code; warp it to UTM first.")
    affine = raster.transform
    corners = [affine * (x, y) for x in (0, raster.width) for y in (0, raster.height)]
    sides = math.hypot(affine.a, affine.d), math.hypot(affine.b, affine.e)
    if not all(abs(number) < FARTHEST for number in (*affine, *(n for corner in corners for n in corner))):
        raise HTTPException(422, f"the GeoTIFF does not lie on Earth (transform {tuple(affine)[:6]}).")
    if not all(SMALLEST < side < LARGEST for side in sides):
        raise HTTPException(422, f"the GeoTIFF has pixels of {sides[0]:g} x {sides[1]:g}; expected metres or degrees.")


def _too_large(limits: Limits) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limits.upload_mb} MB; cut the scene into parts.")


def first_line(cause: BaseException) -> str:
    """Return the beginning of what an exception says."""
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
