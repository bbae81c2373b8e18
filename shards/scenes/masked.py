"""Rasters with masks, as nodata: GDAL's warp follows a nodata value, or one mask, but not both."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import escape

import rasterio

from bandloom.rasters.validity import alpha_bands


@contextmanager
def with_masks_as_nodata(raster: Any, nodata: float | None, fill: float, masked: bool) -> Iterator[Any]:
    """Open a virtual copy of a raster in which every masked pixel holds ``fill``, and so does every ``nodata``.

    GDAL follows either in one step, so that masks become ``nodata`` first, where a raster has both.
    """
    source = raster.name
    if masked:
        source = _through(raster, source, "<UseMaskBand>true</UseMaskBand>", fill if nodata is None else nodata)
    if nodata is not None and repr(float(nodata)) != repr(float(fill)):
        source = _through(raster, source, f"<NODATA>{nodata!r}</NODATA>", fill)
    with rasterio.open(source) as virtual:
        yield virtual


def _through(raster: Any, source: str, rule: str, fill: float) -> str:
    """Return a VRT of the raster's bands, each read by a rule that leaves ``fill`` where it says so."""
    alphas = alpha_bands(raster)
    source = _with_mask_band(raster, alphas[0]) if alphas and source == raster.name else source
    bands = (
        f"<NoDataValue>{fill!r}</NoDataValue><ComplexSource>{_source(source, index)}{rule}</ComplexSource>"
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
