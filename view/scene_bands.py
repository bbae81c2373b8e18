"""The scene under a map: its band files, as the map's tags name them, or else by names of files and bands."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from bandloom.errors import SceneError
from bandloom.rasters.footprint import footprint
from bandloom.rasters.validity import measured
from bandloom.rasters.values import SATURATED
from bandloom.rasters.web_tiles import Degrees, beside, view_bounds
from bandloom.sensors import SENSORS, SLOTS, named_in
from bandloom.view.class_map import place_of

SENTINEL2 = [
    {"name": band.name, "slot": band.slot, "centre_nm": band.centre_nm} for band in SENSORS["sentinel2-l1c"].bands
]
SAMPLE_PX = 256  # side of the overview that stretches are taken from
RASTERS = (".tif", ".tiff", ".gtif", ".jp2", ".vrt")


@dataclass(frozen=True)
class BandAt:
    """One band of a scene: what it is, and which band of which raster holds it."""

    name: str
    slot: str
    centre_nm: float
    file: str  # as GDAL opens it
    index: int


class SceneBands:
    """Where each band of a scene lies."""

    def __init__(self, path: Path, told: Sequence[Mapping[str, Any]] = ()) -> None:
        """Look at the scene at ``path``.

        Args:
            path: any scene that `bandloom predict` reads from this machine.
            told: the bands of the scene that was mapped, as :attr:`bandloom.view.class_map.ClassMap.scene_bands`.

        Raises:
            SceneError: there is no band with a known name in it.
        """
        self.name, self.path = path.stem, path
        self.bands: dict[str, BandAt] = {}
        self.bounds: Degrees | None = None
        if not path.exists():
            raise SceneError(f"the scene {path} does not exist; name the scene that was mapped.")
        if not self._as_told(told):
            self._by_names(told or SENTINEL2)
        if not self.bands:
            names = ", ".join(str(band["name"]) for band in told or SENTINEL2)
            raise SceneError(
                f"{path} holds no band of the map's sensor ({names}); give the scene that was mapped, a GeoTIFF with"
                " band descriptions, or a folder of single-band rasters named by band."
            )
        self.stretch = {name: self._stretch(band) for name, band in self.bands.items()}

    def _as_told(self, told: Sequence[Mapping[str, Any]]) -> bool:
        """Take the files that were mapped, if this is that scene."""
        matching = [
            (band, inner_path(self.path, str(band["file"])), int(band["index"]))
            for band in told
            if "file" in band and "index" in band
        ]
        try:
            for each, file, index in matching:
                with rasterio.open(file) as source:
                    if index > source.count:
                        raise RasterioError("another raster")
                    self._take(each, file, index, source)
        except RasterioError:
            self.bands.clear()
        return bool(self.bands)

    def _by_names(self, known: Sequence[Mapping[str, Any]]) -> None:
        """Take the bands whose description, or whose file's name, ends in a known name."""
        by_name = {str(value["name"]): value for value in known}
        for file in _rasters(self.path, by_name):
            try:
                with rasterio.open(file) as source:
                    for index, described in enumerate(source.descriptions, 1):
                        name = named_in(described or (file.stem if source.count == 1 else ""), by_name)
                        if name and name not in self.bands:
                            self._take(by_name[name], str(file), index, source)
            except RasterioError as cause:
                raise SceneError(f"{file} cannot be read as a raster ({cause}); name a GeoTIFF.") from cause

    def _take(self, band: Mapping[str, Any], file: str, index: int, source: Any) -> None:
        """Note where a band lies, and the ground of its raster."""
        if source.crs is None:
            return
        name = str(band["name"])
        self.bands[name] = BandAt(name, str(band["slot"]), float(band["centre_nm"]), file, index)
        bounds = view_bounds(footprint(source.crs, source.transform, source.shape))
        own = self.bounds or bounds
        west, south, east, north = beside(own, bounds)
        self.bounds = min(own[0], west), min(own[1], south), max(own[2], east), max(own[3], north)

    @property
    def parts(self) -> "Sequence[SceneBands]":
        """The scenes that it is made of: itself alone."""
        return (self,)

    def composites(self) -> dict[str, tuple[str, str, str]]:
        """Return the pictures that these bands allow, by name: the bands shown as red, green and blue."""
        by_slot = {band.slot: name for name, band in self.bands.items()}
        infrared = "B08" if "B08" in by_slot else "B8A"
        wanted = {
            "true colour": ("B04", "B03", "B02"),
            "false colour": (infrared, "B04", "B03"),
            "SWIR": ("B12", "B8A", "B04"),
        }
        composites = {
            title: tuple(by_slot[slot] for slot in slots)
            for title, slots in wanted.items()
            if set(slots) <= set(by_slot)
        }
        return composites | {by_slot[slot]: (by_slot[slot],) * 3 for slot in SLOTS if slot in by_slot}  # type: ignore[return-value]

    def spectrum(self, longitude: float, latitude: float) -> list[dict[str, Any]]:
        """Return wavelength in nm and digital number of every band at a place, in order of wavelength."""
        bars = []
        for band in self.bands.values():
            with rasterio.open(band.file) as source:
                where = place_of(longitude, latitude, source.crs, source.transform, source.shape)
                if where is None:
                    continue
                window = rasterio.windows.Window(where[1], where[0], 1, 1)  # type: ignore[call-arg]
                stored = source.read([band.index], window=window)
                known = bool(measured(source, stored, [band.index], window).all())
                value = float(stored.item())
            if known and value and value < SATURATED:
                bars.append({"band": band.name, "nm": band.centre_nm, "dn": int(value)})
        return sorted(bars, key=lambda each: each["nm"])

    def _stretch(self, band: BandAt) -> tuple[float, float]:
        """Return the digital numbers shown as black and white: the 2nd and 98th percentile of an overview."""
        with rasterio.open(band.file) as source:
            shape = (min(SAMPLE_PX, source.height), min(SAMPLE_PX, source.width))
            values = source.read([band.index], out_shape=(1, *shape))
            known = measured(source, values, [band.index])
        seen = values[known & (values != 0) & (values < SATURATED)]
        low, high = np.percentile(seen, (2, 98)) if seen.size else (0.0, 1.0)
        return float(low), float(max(high, low + 1))


def inner_path(scene: Path, inner: str) -> str:
    """Return the path under which GDAL opens a file of a scene: a raster, a folder, an archive, or beside an item."""
    if not inner or inner.startswith("/vsi") or "://" in inner:
        return inner or str(scene)
    if scene.suffix in (".zip", ".tar"):
        return f"/vsi{scene.suffix[1:]}/{{{scene.resolve()}}}/{inner}"
    return str((scene if scene.is_dir() else scene.parent) / inner)


def _rasters(path: Path, names: Mapping[str, Any]) -> list[Path]:
    """Return the rasters of a scene, those named for the finest sampling first; a product's masks and previews not."""
    if not path.is_dir():
        return [path]
    rasters = [entry for entry in path.rglob("*") if entry.suffix.lower() in RASTERS]
    return sorted((file for file in rasters if named_in(file.stem, names)), key=lambda at: (_named_gsd(at.stem), at))


def _named_gsd(stem: str) -> int:
    told = re.search(r"_(\d\d)m$", stem)
    return int(told[1]) if told else 0
