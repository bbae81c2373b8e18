"""A raster in degrees beyond 180: a whole turn of 360 is taken off, or 180 degrees is its prime meridian."""

import re
from typing import Any
from xml.sax.saxutils import escape

import rasterio
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.shutil import copy

TURN = 360  # degrees


def reaches_beyond_180(raster: Any) -> bool:
    """Tell whether a raster in degrees lies partly west of -180 or east of 180, where no transformation leads."""
    if raster.crs is None or not raster.crs.is_geographic:
        return False
    west, east = _ends(raster)
    return (east > TURN / 2 or west < -TURN / 2) and east - west < TURN and west < TURN and east > -TURN


def seen_within_180(raster: Any) -> Any:
    """Open a virtual copy of a raster in degrees whose longitudes lie within 180: pixels and ground are as they were.

    Longitudes of 200 become -160, and 359 to 361 (a grid from 0 to 360 around Greenwich) -1 to 1. What lies on both
    sides of 180 counts from there: a warp finds it then.
    """
    with MemoryFile(ext=".vrt") as file:
        copy(raster.name, file.name, driver="VRT")
        described = file.read().decode()
    corner, pixel, turn, *rest = raster.transform.to_gdal()
    west, east = _ends(raster)
    moved = -TURN * round((west + east) / 2 / TURN)
    if max(east + moved, -(west + moved)) > TURN / 2:
        moved -= TURN // 2 if (west + east) / 2 + moved > 0 else -TURN // 2
        crs = escape(CRS.from_string(f"{raster.crs.to_proj4()} +pm=180").to_wkt())
        described = re.sub(r"(?s)<SRS.*?</SRS>", lambda _: f"<SRS>{crs}</SRS>", described, count=1)
    placing = ", ".join(map(repr, (corner + moved, pixel, turn, *rest)))
    described = re.sub(
        r"(?s)<GeoTransform>.*?</GeoTransform>", lambda _: f"<GeoTransform>{placing}</GeoTransform>", described, count=1
    )
    return rasterio.open(described)


def _ends(raster: Any) -> tuple[float, float]:
    """Return the least and the greatest longitude of a raster's corners."""
    ends = [(raster.transform @ (column, row))[0] for column in (0, raster.width) for row in (0, raster.height)]
    return min(ends), max(ends)
