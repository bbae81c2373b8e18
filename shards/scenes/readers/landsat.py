"""Landsat 8/9 Collection 2, L1TP and L2SP, folder or tar.

Level 1: ``rho = (MULT * DN + ADD) / sin(sun elevation)``; level 2: ``rho = MULT * DN + ADD``, from the product's MTL
(USGS, Landsat 8-9 Collection 2 Level 1 and Level 2 Data Format Control Books). Fill comes from QA_PIXEL bit 0,
saturation from QA_RADSAT, cloud from QA_PIXEL bits 1 to 3 (dilated cloud, cirrus, cloud).
"""

import json
import math
import re
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bandloom.errors import SceneError
from bandloom.rasters.values import NODATA, SATURATED, reflectance_to_dn
from bandloom.sensors import Sensor, get_sensor
from bandloom.shards.scenes.cloud import RasterCloud
from bandloom.shards.scenes.grid import GridReader, open_raster
from bandloom.shards.scenes.raster import Bands, RasterScene
from bandloom.shards.scenes.readers.product import Product, is_tar, is_zip, names_inside
from bandloom.shards.scenes.scene import WindowM
from bandloom.shards.scenes.stated import Scaling, Stated

_NAME = re.compile(r"L[CO]0[89]_L(1TP|1GT|2SP)_\d{6}_\d{8}_\d{8}_\d\d_T[12]")
_MTL = re.compile(r"_MTL\.(?:json|txt|xml)$", re.IGNORECASE)
_PLATFORMS = ("LANDSAT_8", "LANDSAT_9")
_CLOUD_BITS = 0b1110
_SENSORS = {"1": "landsat89-l1", "2": "landsat89-l2"}
# Collection 2 scales every reflective band of every scene alike (gain, offset), so another number is damage
COLLECTION2_SCALING = {"1": (2e-5, -0.1), "2": (2.75e-5, -0.2)}


def is_landsat(path: Path) -> bool:
    """Tell whether a path is a Landsat product: by its name, or whatever its name by the MTL file that lies inside.

    A folder, a tar, a packed tar or a zip, or the path of the MTL file.
    """
    if _NAME.match(path.name) is not None and (path.is_dir() or path.suffix == ".tar"):
        return True
    if _MTL.search(path.name) and path.is_file():
        return True
    archive = is_tar(path) or is_zip(path)
    return (path.is_dir() or archive) and any(_MTL.search(name) for name in names_inside(path))


class LandsatScene(RasterScene):
    """A Landsat scene: bands scaled to reflectance one by one, masked by the product's quality rasters."""

    def __init__(
        self,
        name: str,
        path: str,
        sensor: Sensor,
        bands: Bands,
        stack: ExitStack,
        stated: Stated,
        scaling: Scaling,
        quality: dict[str, tuple[Any, str]],
    ) -> None:
        self._scaling = scaling
        cloud = RasterCloud(*quality["QA_PIXEL"], _cloudy)
        super().__init__(name, path, sensor, bands, stack, None, cloud, stated)
        gsd_m = sensor.groups[0].gsd_m
        self._quality = {
            kind: GridReader(raster, file, [1], gsd_m, self._frame, self._warp, nearest=True)
            for kind, (raster, file) in quality.items()
        }

    def read(self, window_m: WindowM) -> dict[int, np.ndarray]:
        """Return ``{30: (C, H, W)}`` uint16 DN of a window; what lies outside the scene is 0."""
        marks = {kind: grid.read(window_m)[0] for kind, grid in self._quality.items()}
        groups = {}
        for group in self.sensor.groups:
            layers = []
            for band, grid in zip(group.bands, self._grids[group.gsd_m], strict=True):
                gain, offset = self._scaling[band.name]
                stored = grid.read(window_m)
                known, values = grid.measured(stored, window_m), stored[0]
                dn = reflectance_to_dn(values.astype(np.float64) * gain + offset)
                dn[self._saturated(marks, band.name)] = SATURATED
                dn[(values == 0) | (marks["QA_PIXEL"] & 1).astype(bool)] = NODATA
                if known is not None:
                    dn[~known[0]] = NODATA
                layers.append(dn)
            groups[group.gsd_m] = np.stack(layers)
        return groups

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom."""
        super().walk_down()
        for grid in self._quality.values():
            grid.keeps_rows = True

    def _saturated(self, marks: dict[str, np.ndarray], band: str) -> np.ndarray:
        if "QA_RADSAT" not in marks:
            return np.zeros(marks["QA_PIXEL"].shape, bool)
        return (marks["QA_RADSAT"] >> (int(band[1:]) - 1) & 1).astype(bool)

    def _check_values(self, bands: Bands, told: int | None, stated: Stated) -> int:
        """Landsat states its own scaling; there is no offset to decide."""
        return 0


def open_landsat(path: Path) -> LandsatScene:
    """Open a product.

    Raises:
        SceneError: it is no Collection 2 L1TP or L2SP product, one of several in a folder, or a file is missing.
    """
    named = path.name if _MTL.search(path.name) and path.is_file() else None
    path = path.parent if named else path
    product = Product(path)
    metadata = _metadata_file(product, named)
    facts = _metadata(product, metadata)
    platform = str(facts.get("SPACECRAFT_ID", _PLATFORMS[0])).upper()
    if platform not in _PLATFORMS:
        raise SceneError(
            f"{path} is of {platform}; expected LANDSAT_8 or LANDSAT_9: describe another sensor in a YAML record, and"
            " read its bands from a folder of their own with --sensor and --scale."
        )
    if facts.get("COLLECTION_NUMBER") not in ("02", "2"):
        raise SceneError(
            f"{path} is of collection {facts.get('COLLECTION_NUMBER', 'unknown')}; expected Collection 2, whose"
            " quality bits differ: order it again from USGS."
        )
    level = str(facts.get("PROCESSING_LEVEL", ""))[1:2]
    if level not in _SENSORS:
        raise SceneError(f"{path} states the level {facts.get('PROCESSING_LEVEL')!r}; expected L1TP or L2SP.")
    sensor = get_sensor(_SENSORS[level])
    used = [band.name for band in sensor.bands if band.slot]
    files = {name: _file(product, facts, f"FILE_NAME_BAND_{name[1:]}", f"_{name}.TIF") for name in used}
    elevation = _elevation(facts, path)
    provenance = {"product": facts.get("LANDSAT_PRODUCT_ID"), "sun_degrees": {"elevation": elevation}}
    stated = Stated(None, "", _time(facts), provenance)
    stack = ExitStack()
    try:
        bands: Bands = {name: (stack.enter_context(open_raster(file)), file, 1) for name, file in files.items()}
        quality = {"QA_PIXEL": _file(product, facts, "FILE_NAME_QUALITY_L1_PIXEL", "_QA_PIXEL.TIF")}
        if "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION" in facts:
            key = "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION"
            quality["QA_RADSAT"] = _file(product, facts, key, "_QA_RADSAT.TIF")
        marks = {kind: (stack.enter_context(open_raster(file)), file) for kind, file in quality.items()}
        scaling = {name: _scaling(facts, name, level, elevation, path) for name in used}
        name = path.name.partition(".")[0] if len(_ids(product)) == 1 else _id(metadata)
        return LandsatScene(name, str(path), sensor, bands, stack, stated, scaling, marks)
    except BaseException:
        stack.close()
        raise


def _id(name: str) -> str:
    """Return whose metadata an MTL file holds, by its name."""
    return _MTL.sub("", PurePosixPath(name).name)


def _ids(product: Product) -> set[str]:
    return {_id(name) for name in product.names if _MTL.search(name)}


def _metadata_file(product: Product, named: str | None) -> str:
    """Return the MTL file that was named, or that of the only product: JSON before text before XML.

    Raises:
        SceneError: there is none, or there are several products.
    """
    if named is not None:
        return named
    ids = sorted(_ids(product))
    if len(ids) > 1:
        raise SceneError(
            f"{product.path} holds {len(ids)} Landsat products ({', '.join(ids[:3])}); name the MTL file of one, or"
            " give each a folder."
        )
    name = next((name for kind in ("json", "txt", "xml") if (name := product.find(f"_MTL.{kind}"))), None)
    if name is None:
        raise SceneError(f"{product.path} holds no MTL metadata; the product is incomplete: fetch it again.")
    return name


def _metadata(product: Product, name: str) -> dict[str, Any]:
    """Return all keys of an MTL file, whatever section they stand in."""
    facts: dict[str, Any] = {}
    if name.lower().endswith(".xml"):
        for section in product.xml(name):
            for element in section:
                _first(facts, element.tag, (element.text or "").strip())
        return facts
    text = product.read(name).decode("utf-8", "replace")
    if name.lower().endswith(".txt"):
        for key, value in re.findall(r"^\s*(\w+) = (.+?)\s*$", text, re.MULTILINE):
            if key not in ("GROUP", "END_GROUP"):
                _first(facts, key, value.strip('"'))
        return facts
    try:
        sections = next(iter(json.loads(text).values()))
        for section in sections.values():
            for key, value in section.items():
                _first(facts, key, value)
    except (ValueError, AttributeError, TypeError, StopIteration, RecursionError) as cause:
        raise SceneError(f"{product.path}: {name} is not readable metadata ({cause}); fetch it again.") from cause
    return facts


def _first(facts: dict[str, Any], key: str, value: Any) -> None:
    """Keep a key's first value: the delivered level stands before the level 1 record of an L2 MTL."""
    facts.setdefault(key, value)


def _file(product: Product, facts: dict[str, Any], key: str, ending: str) -> str:
    wanted = str(facts.get(key, ""))
    if wanted and not wanted.upper().endswith(ending):
        raise SceneError(f"{product.path} names {wanted} where a file ending in {ending} belongs; fetch it again.")
    name = product.find(wanted) if wanted else None
    if name is None:
        raise SceneError(f"{product.path} lacks {wanted or key}; the product is incomplete: fetch it again.")
    return product.gdal_path(name)


def _elevation(facts: dict[str, Any], path: Path) -> float:
    try:
        elevation = float(facts["SUN_ELEVATION"])
    except (KeyError, ValueError, TypeError) as cause:
        raise SceneError(f"{path} does not state the sun's elevation ({cause}); fetch it again.") from cause
    if not -90 <= elevation <= 90:
        raise SceneError(f"{path} states a sun {elevation} degrees high; its metadata is damaged: fetch it again.")
    return elevation


def _scaling(facts: dict[str, Any], band: str, level: str, elevation: float, path: Path) -> tuple[float, float]:
    try:
        gain = float(facts[f"REFLECTANCE_MULT_BAND_{band[1:]}"])
        offset = float(facts[f"REFLECTANCE_ADD_BAND_{band[1:]}"])
    except (KeyError, ValueError, TypeError) as cause:
        raise SceneError(
            f"{path} does not state the reflectance scaling of {band} ({cause}); fetch it again."
        ) from cause
    return reflectance_scaling(gain, offset, level, elevation, band, path)


def reflectance_scaling(
    gain: float, offset: float, level: str, elevation: float, band: str, path: Path
) -> tuple[float, float]:
    """Return gain and offset from stored value to reflectance, given what the metadata states of a band.

    Raises:
        SceneError: they are not Collection 2's, or the sun of a level 1 scene stands below the horizon.
    """
    if (gain, offset) != COLLECTION2_SCALING[level]:
        raise SceneError(
            f"{path} scales {band} by {gain} and {offset} where Collection 2 has {COLLECTION2_SCALING[level]}; its"
            " metadata is damaged: fetch it again."
        )
    sine = math.sin(math.radians(elevation)) if level == "1" else 1.0
    if sine <= 0:
        raise SceneError(
            f"{path} was taken with the sun at {elevation} degrees; reflectance needs it above the horizon."
        )
    return gain / sine, offset / sine


def _time(facts: dict[str, Any]) -> datetime | None:
    day, time = facts.get("DATE_ACQUIRED"), str(facts.get("SCENE_CENTER_TIME", "")).strip('"')
    try:
        return datetime.fromisoformat(f"{day}T{time[:15].rstrip('Z')}+00:00")
    except ValueError:
        return None


def _cloudy(quality: np.ndarray) -> np.ndarray:
    return (quality[0] & _CLOUD_BITS) != 0
