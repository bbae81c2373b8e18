"""Rasters with masks, as nodata: GDAL's warp follows a nodata value, or one mask, but not both."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import rasterio

from bandloom.errors import SceneError
from bandloom.validity import alpha_bands
from bandloom.values import NODATA


@contextmanager
def with_masks_as_nodata(raster: Any, path: str | Path, nodata: float | None) -> Iterator[Any]:
    """Open a virtual copy of a raster in which every masked pixel holds ``nodata``, or 0 where there is none.

    Raises:
        SceneError: it has a nodata value and an alpha band, of which GDAL follows the first alone.
    """
    if nodata is not None and alpha_bands(raster):
        raise SceneError(
            f"{path} has a nodata value ({nodata:g}) and an alpha band, and is not in UTM; warp it first with gdalwarp"
            " -dstnodata."
        )
    with rasterio.open(_description(raster, nodata)) as virtual:
        yield virtual


def _description(raster: Any, nodata: float | None) -> str:
    """Return a VRT of the raster's bands, each read through its mask."""
    fill = NODATA if nodata is None else nodata
    alphas = alpha_bands(raster)
    source = _with_mask_band(raster, alphas[0]) if alphas else raster.name
    absent = "" if nodata is None else f"<NODATA>{nodata!r}</NODATA>"
    bands = (
        f"<NoDataValue>{fill!r}</NoDataValue><ComplexSource>{_source(source, index)}{absent}"
        "<UseMaskBand>true</UseMaskBand></ComplexSource>"
        for index in raster.indexes
    )
    return _dataset(raster, bands)


def _with_mask_band(raster: Any, alpha: int) -> str:
    """Return a VRT of the raster in which an alpha band is its mask: GDAL takes it for one in 2 or 4 bands alone."""
    bands = (f"<SimpleSource>{_source(raster.name, index)}</SimpleSource>" for index in raster.indexes)
    mask = (
        f'<MaskBand><VRTRasterBand dataType="Byte"><ComplexSource>{_source(raster.name, alpha)}'
        "<LUT>0:0,1:255</LUT></ComplexSource></VRTRasterBand></MaskBand>"
    )
    return _dataset(raster, bands, mask)


def _dataset(raster: Any, bands: Iterable[str], mask: str = "") -> str:
    placing = ", ".join(map(repr, raster.transform.to_gdal()))
    inner = "".join(
        f'<VRTRasterBand dataType="{_type(dtype)}" band="{index}">{band}</VRTRasterBand>'
        for index, (dtype, band) in enumerate(zip(raster.dtypes, bands, strict=True), 1)
    )
    return (
        f'<VRTDataset rasterXSize="{raster.width}" rasterYSize="{raster.height}">'
        f"<SRS>{escape(raster.crs.to_wkt())}</SRS><GeoTransform>{placing}</GeoTransform>{inner}{mask}</VRTDataset>"
    )


def _source(name: str, index: int) -> str:
    return f"<SourceFilename>{escape(name)}</SourceFilename><SourceBand>{index}</SourceBand>"


def _type(dtype: str) -> str:
    """Return GDAL's name of a type: UInt16, Int16, Float32; bytes have another."""
    if dtype == "uint8":
        return "Byte"
    return dtype.replace("uint", "UInt").replace("float", "Float").replace("int", "Int")
