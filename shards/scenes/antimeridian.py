"""A raster in degrees that reaches beyond 180, seen with 180 degrees as its prime meridian: a warp finds it then."""

import re
from typing import Any
from xml.sax.saxutils import escape

import rasterio
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.shutil import copy


def reaches_beyond_180(raster: Any) -> bool:
    """Tell whether a raster in degrees lies partly west of -180 or east of 180, where no transformation leads."""
    if raster.crs is None or not raster.crs.is_geographic:
        return False
    ends = [(raster.transform @ (column, row))[0] for column in (0, raster.width) for row in (0, raster.height)]
    return (max(ends) > 180 or min(ends) < -180) and max(ends) - min(ends) < 360


def seen_from_180(raster: Any) -> Any:
    """Open a virtual copy of a raster in degrees whose longitudes count from 180; all else is as it was."""
    with MemoryFile(ext=".vrt") as file:
        copy(raster.name, file.name, driver="VRT")
        described = file.read().decode()
    west, pixel, turn, *rest = raster.transform.to_gdal()
    middle = west + pixel * raster.width / 2
    placing = ", ".join(map(repr, (west - (180 if middle > 0 else -180), pixel, turn, *rest)))
    crs = CRS.from_string(f"{raster.crs.to_proj4()} +pm=180").to_wkt()
    described = re.sub(r"(?s)<SRS.*?</SRS>", lambda _: f"<SRS>{escape(crs)}</SRS>", described, count=1)
    described = re.sub(
        r"(?s)<GeoTransform>.*?</GeoTransform>", lambda _: f"<GeoTransform>{placing}</GeoTransform>", described, count=1
    )
    return rasterio.open(described)
