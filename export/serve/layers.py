"""Web map tiles of maps and scenes that the operator named: any GeoTIFF of one byte a band, from its overviews."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT

from bandloom.errors import SceneError
from bandloom.rasters.cut_short import open_whole
from bandloom.rasters.footprint import footprint
from bandloom.rasters.png import png
from bandloom.rasters.web_tiles import TILE_PX, Degrees, mercator_of, tile_bounds, view_bounds, warped_crs

MAX_ZOOM = 18


@dataclass(frozen=True)
class Layer:
    """One raster to look at."""

    name: str
    path: Path
    bounds: Degrees  # west, south, east, north; east above 180 across the antimeridian
    colours: np.ndarray | None  # (256, 4) uint8 of a map of codes; None: the bands are red, green and blue

    @property
    def tilejson_bounds(self) -> Degrees:
        """The same as TileJSON wants it: no wider than the world, which a layer across the antimeridian spans."""
        west, south, east, north = self.bounds
        return (-180.0, south, 180.0, north) if east > 180 else (west, south, east, north)

    def tile(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return a PNG of a tile of the world, or None where the layer has nothing."""
        bounds = tile_bounds(zoom, x, y)
        place = from_bounds(*bounds, TILE_PX, TILE_PX)
        with (
            rasterio.open(self.path, **self._overview((bounds[2] - bounds[0]) / TILE_PX)) as source,
            WarpedVRT(
                source,
                src_crs=warped_crs(source),
                crs="EPSG:3857",
                transform=place,
                width=TILE_PX,
                height=TILE_PX,
                resampling=Resampling.nearest if self.colours is not None else Resampling.bilinear,
            ) as view,
        ):
            there = view.dataset_mask()
            if not there.any():
                return None
            if self.colours is not None:
                rgba = self.colours[view.read(1)]
                rgba[..., 3] = np.minimum(rgba[..., 3], there)
            else:
                rgba = np.dstack([*view.read((1, 2, 3)), there])
        return png(rgba)

    def _overview(self, metres: float) -> dict[str, Any]:
        """Say which overview is fine enough for pixels of ``metres`` at the equator."""
        left, _, right, _ = mercator_of(self.bounds)
        with rasterio.open(self.path) as source:
            pixel_m = (right - left) / source.width
            fitting = [level for level, factor in enumerate(source.overviews(1)) if factor * pixel_m <= metres]
        return {"overview_level": fitting[-1]} if fitting else {}


def open_layer(name: str, path: Path) -> Layer:
    """Look at a raster that will be served.

    Raises:
        SceneError: it cannot be read, or is neither a map of codes nor red, green and blue bytes.
    """
    try:
        with open_whole(path) as raster:
            if raster.crs is None or raster.dtypes[0] != "uint8" or raster.count not in (1, 3, 4):
                raise SceneError(
                    f"{path} is no layer: it needs a coordinate system and one, three or four bands of bytes; serve a"
                    " map of bandloom predict, or a scene with --scene."
                )
            bounds = view_bounds(footprint(raster.crs, raster.transform, raster.shape))
            colours = _colour_table(raster) if raster.count == 1 else None
    except RasterioError as cause:
        raise SceneError(f"{path} cannot be read ({cause}); name a GeoTIFF.") from cause
    return Layer(name, path, bounds, colours)


def _colour_table(raster: Any) -> np.ndarray:
    """Return ``(256, 4)`` colours: the file's own, or grey."""
    if raster.colorinterp[0] != ColorInterp.palette:
        grey = np.arange(256, dtype=np.uint8)
        return np.stack([grey, grey, grey, np.full(256, 255, np.uint8)], axis=1)
    table = np.zeros((256, 4), np.uint8)
    for code, colour in raster.colormap(1).items():
        table[code] = colour
    return table
