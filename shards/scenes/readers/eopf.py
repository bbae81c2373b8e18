"""EOPF Sentinel-2 products, ESA's successor of SAFE: Zarr v2, or v3 since processor version 3, in a folder or zip.

Each band comes from its native group alone: Level-2A's coarser groups hold resampled copies. Scale and offset are the
arrays' own attributes, applied once; 0 is absent, not reflectance -0.1. Arrays of v2 state their place, which GDAL does
not find; those of v3 do not, and have the product's. Copies whose values were decoded already (floats) are refused.
"""

import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.command_line.console import logger
from bandloom.errors import SceneError
from bandloom.rasters.values import NODATA, SATURATED
from bandloom.sensors import SLOT_GSD_M, Sensor, get_sensor
from bandloom.shards.scenes.cloud import RasterCloud, scl_cloud
from bandloom.shards.scenes.grid import Frame, GridReader
from bandloom.shards.scenes.options import one_ten_thousandth
from bandloom.shards.scenes.raster import Bands
from bandloom.shards.scenes.readers.eopf_store import EopfStore
from bandloom.shards.scenes.readers.quality import Quality
from bandloom.shards.scenes.readers.safe import SafeScene
from bandloom.shards.scenes.remote_file import address_of, is_remote
from bandloom.shards.scenes.scene import WindowM
from bandloom.shards.scenes.stated import Stated

_GROUP = "measurements/reflectance"
_ABSENT_BITS, _SATURATED_BIT = 4 | 8 | 32, 128  # MSI_LOST, MSI_DEG, QT_NODATA; QT_SATURATED_L1A
_CLOUD_BITS = 1 | 2  # opaque, cirrus


def is_eopf(path: str | Path) -> bool:
    """Tell whether a folder or zip is a Zarr store with the groups of an EOPF product; a remote one goes by name."""
    address = address_of(path)
    if is_remote(address):
        return address.rstrip("/").endswith((".zarr.zip", ".zarr"))
    path = Path(address)
    if path.is_dir():
        return (path / _GROUP).is_dir() and any((path / name).is_file() for name in (".zgroup", "zarr.json"))
    if path.suffix != ".zip" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(f"{_GROUP}/" in name for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


class BitQuality:
    """A mask of bit flags on its band's grid: packets lost or degraded, no data, saturated."""

    def __init__(self, raster: Any, path: str) -> None:
        self._raster, self._path = raster, path
        self._grid: GridReader | None = None

    def place(self, frame: Frame, warp: bool) -> None:
        """Lay the mask on the scene's frame."""
        self._grid = GridReader(
            self._raster, self._path, [1], round(self._raster.transform.a), frame, warp, nodata="none"
        )

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom."""
        if self._grid is not None:
            self._grid.keeps_rows = True

    def mark(self, dn: np.ndarray, window_m: WindowM) -> None:
        """Write absent and saturated into ``(H, W)`` uint16 DN of a window."""
        if self._grid is None:
            raise RuntimeError("a quality mask is read before it is placed")
        flags = self._grid.read(window_m)[0]
        dn[(flags & _SATURATED_BIT) != 0] = SATURATED
        dn[(flags & _ABSENT_BITS) != 0] = NODATA


def open_eopf(path: str | Path) -> SafeScene:
    """Open a product, folder or zip. Every member of a zip on disk is verified by its CRC.

    Args:
        path: where it lies; a zip may be remote, by its address or GDAL's name for it.

    Raises:
        SceneError: it lacks a band or an attribute, or holds decoded or resampled values, or is a remote folder.
    """
    address = address_of(path)
    if is_remote(address) and not address.endswith(".zip"):
        raise SceneError(
            f"{address} is a folder of chunks behind a network, where one that fails to come cannot be told from ground"
            " without data; fetch the product, or name its .zarr.zip."
        )
    store = EopfStore(address)
    level = store.level()
    sensor = get_sensor(f"sentinel2-{level}")
    stack = ExitStack()
    try:
        bands, added = _bands(store, sensor, stack)
        quality: dict[str, Quality] = {}
        for band in bands:
            array = f"quality/mask/r{SLOT_GSD_M[band]}m/{band.lower()}"
            if store.has(array):
                mask = stack.enter_context(store.open(array, "Byte"))
                if mask.shape != bands[band][0].shape:
                    raise SceneError(
                        f"{path}: {array} has {mask.shape} pixels and its band {bands[band][0].shape}; fetch it again."
                    )
                quality[band] = BitQuality(mask, f"{path}/{array}")
        cloud = _cloud(store, level, stack)
        container = f"EOPF Zarr v{store.version}"
        facts = {"product": store.name, "processing_baseline": store.baseline(), "container": container}
        if store.lacking:
            facts["lacking_chunks"] = dict(store.lacking)
            first, (lacks, of) = next(iter(store.lacking.items()))
            logger.warning(
                "%s stores %d of %d chunks of %s%s: what is not stored is taken for absent; if no"
                " ground of the product is without data, it was cut short: fetch it again",
                path,
                of - lacks,
                of,
                first,
                f" (and not all of {len(store.lacking) - 1} other arrays)" if len(store.lacking) > 1 else "",
            )
        stated = Stated(added, "the arrays' add_offset", store.time(), facts)
        return SafeScene(store.name.partition(".")[0], str(path), sensor, bands, stack, cloud, stated, quality)
    except BaseException:
        stack.close()
        raise


def _bands(store: EopfStore, sensor: Sensor, stack: ExitStack) -> tuple[Bands, int]:
    """Return the open rasters of every band from its native group, and the one offset that all state."""
    bands: Bands = {}
    offsets: dict[str, int] = {}
    for band in (band.name for group in sensor.groups for band in group.bands):
        array = f"{_GROUP}/r{SLOT_GSD_M[band]}m/{band.lower()}"
        told = store.attributes(array)
        store.check_stored(array)
        try:
            scaling = float(told["scale_factor"]), float(told.get("add_offset", 0.0))
        except (KeyError, TypeError, ValueError) as cause:
            raise SceneError(
                f"{store.path}: {array} does not state its scale_factor; fetch the product again."
            ) from cause
        added = one_ten_thousandth(*scaling)
        fills = [told.get("fill_value"), told.get("_FillValue"), store.fill(array)]
        if added is None or any(fill not in (0, None) for fill in fills):
            raise SceneError(
                f"{store.path}: {array} states scale {scaling[0]:g}, offset {scaling[1]:g} and fill"
                f" {', '.join(str(fill) for fill in fills if fill is not None)}; expected 0.0001, -0.1 or 0, and 0: it"
                " is no product as ESA delivers it."
            )
        offsets[band] = added
        bands[band] = (stack.enter_context(store.open(array, "UInt16")), f"{store.path}/{array}", 1)
    if len(set(offsets.values())) > 1:
        raise SceneError(f"{store.path} states another offset for some bands ({offsets}); fetch the product again.")
    return bands, next(iter(offsets.values()))


def _cloud(store: EopfStore, level: str, stack: ExitStack) -> RasterCloud | None:
    if level == "l2a":
        array, test = "conditions/mask/l2a_classification/r20m/scl", scl_cloud
    else:
        array, test = "conditions/mask/l1c_classification/r60m/b00", _flagged
    if not store.has(array):
        return None
    return RasterCloud(stack.enter_context(store.open(array, "Byte")), f"{store.path}/{array}", test)


def _flagged(mask: np.ndarray) -> np.ndarray:
    return (mask[0] & _CLOUD_BITS) != 0
