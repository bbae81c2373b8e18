"""Lossy compression of class rasters, told from their tags: it turns class codes into others, so it is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

_ALWAYS = ("JPEG", "YCbCr JPEG")
_UNLESS_SAID = ("WEBP", "JXL")  # these and JPEG 2000 say which of both they are
_MOST_SOURCES = 64  # of a virtual raster


def loss_of(raster: Any) -> str | None:
    """Return how an open raster, or what a virtual one is made of, lost values when it was stored; None: it did not.

    LERC keeps whole numbers below an error of 1.
    """
    told = raster.tags(ns="IMAGE_STRUCTURE") | raster.tags(1, ns="IMAGE_STRUCTURE")
    kind, reversibility = told.get("COMPRESSION", ""), told.get("COMPRESSION_REVERSIBILITY", "")
    if kind in _ALWAYS or reversibility == "LOSSY" or (kind in _UNLESS_SAID and not reversibility):
        return kind or raster.driver
    error = float(told.get("MAX_Z_ERROR", 0))
    if error >= 1 or (error and np.dtype(raster.dtypes[0]).kind == "f"):
        return f"{kind} with an error of up to {error:g}"
    return _loss_of_sources(raster) if raster.driver == "VRT" else None


def _loss_of_sources(raster: Any) -> str | None:
    for name in raster.files[1 : 1 + _MOST_SOURCES]:
        try:
            with rasterio.open(name) as source:
                loss = loss_of(source)
        except RasterioError:
            continue  # a table or a mask beside it; what is missing is told where it is read
        if loss is not None:
            return f"{loss}, {Path(name).name}"
    return None


def refusal(path: Path, loss: str) -> str:
    """Return the sentence for a raster of codes that lost some of them."""
    return (
        f"{path} is compressed with loss ({loss}), which turns codes into others where classes meet; take what it was"
        " made from, stored without loss (gdal_translate -co COMPRESS=DEFLATE)."
    )
