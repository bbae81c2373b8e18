"""A scene under a map: bands by name from one GeoTIFF, or from a folder of single-band rasters, a SAFE one included."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from bandloom.errors import SceneError
from bandloom.sensors import SENSORS, SLOTS
from bandloom.values import SATURATED
from view.class_map import place_of

WAVELENGTHS = {band.slot: band.centre_nm for band in SENSORS["sentinel2-l1c"].bands if band.slot}
SAMPLE_PX = 256  # side of the overview that stretches are taken from


class SceneBands:
    """Where each band of a scene lies."""

    def __init__(self, path: Path) -> None:
        """Look at the scene at ``path``.

        Raises:
            SceneError: there is no band with a known name in it.
        """
        self.name = path.stem
        self.bands: dict[str, tuple[Path, int]] = {}
        self.path = path
        self.bounds = (math.inf, math.inf, -math.inf, -math.inf)  # degrees
        if not path.exists():
            raise SceneError(f"the scene {path} does not exist; name a GeoTIFF or a folder of bands.")
        for file in _rasters(path):
            try:
                with rasterio.open(file) as source:
                    self._take(file, source)
            except RasterioError as cause:
                raise SceneError(f"{file} cannot be read as a raster ({cause}); name a GeoTIFF.") from cause
        if not self.bands:
            raise SceneError(
                f"{path} names no band of Sentinel-2; give a GeoTIFF with band descriptions such as B04, or a folder of"
                " single-band rasters named by band."
            )
        self.stretch = {slot: self._stretch(slot) for slot in self.bands}

    def _take(self, file: Path, source: Any) -> None:
        """Note which bands a raster holds, and where it lies."""
        for index, described in enumerate(source.descriptions, 1):
            slot = _slot(described or (file.stem if source.count == 1 else ""))
            if slot and source.crs is not None and slot not in self.bands:
                self.bands[slot] = (file, index)
                west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
                own = self.bounds
                self.bounds = min(own[0], west), min(own[1], south), max(own[2], east), max(own[3], north)

    def composites(self) -> dict[str, tuple[str, str, str]]:
        """Return the pictures that these bands allow, by name: red, green and blue."""
        wanted = {"true colour": ("B04", "B03", "B02"), "false colour": ("B08", "B04", "B03"),
                  "SWIR": ("B12", "B8A", "B04")}  # fmt: skip
        found = {name: slots for name, slots in wanted.items() if set(slots) <= set(self.bands)}
        return found | {slot: (slot, slot, slot) for slot in SLOTS if slot in self.bands}

    def spectrum(self, longitude: float, latitude: float) -> list[dict[str, Any]]:
        """Return wavelength in nm and digital number of every band at a place, in order of wavelength."""
        found = []
        for slot, (file, index) in self.bands.items():
            with rasterio.open(file) as source:
                where = place_of(longitude, latitude, source.crs, source.transform, source.shape)
                if where is None:
                    continue
                window = rasterio.windows.Window(where[1], where[0], 1, 1)  # type: ignore[call-arg]
                value = int(source.read(index, window=window)[0, 0])
            if 0 < value < SATURATED:
                found.append({"band": slot, "nm": WAVELENGTHS[slot], "dn": value})
        return sorted(found, key=lambda each: each["nm"])

    def _stretch(self, slot: str) -> tuple[float, float]:
        """Return the digital numbers shown as black and white: the 2nd and 98th percentile of an overview."""
        file, index = self.bands[slot]
        with rasterio.open(file) as source:
            shape = (min(SAMPLE_PX, source.height), min(SAMPLE_PX, source.width))
            values = source.read(index, out_shape=shape)
        seen = values[(values > 0) & (values < SATURATED)]
        low, high = np.percentile(seen, (2, 98)) if seen.size else (0.0, 1.0)
        return float(low), float(max(high, low + 1))


def _rasters(path: Path) -> list[Path]:
    """Return the rasters of a scene, those named for the finest sampling first; a product's masks and previews not."""
    if not path.is_dir():
        return [path]
    found = [each for each in path.rglob("*") if each.suffix.lower() in (".tif", ".tiff", ".jp2")]
    return sorted((each for each in found if _slot(each.stem)), key=lambda each: (_named_gsd(each.stem), each))


def _named_gsd(stem: str) -> int:
    told = re.search(r"_(\d\d)m$", stem)
    return int(told[1]) if told else 0


def _slot(name: str) -> str | None:
    """Return the slot that a band's description or a file's name ends in: B4, B04, S2A_B8A, T48QUE_B04_10m."""
    last = re.sub(r"_\d\dM$", "", name.upper().replace(" ", "_")).split("_")[-1]
    padded = f"B{last[1:]:0>2}" if last[:1] == "B" and last[1:].isdigit() else last
    return padded if padded in SLOTS else None
