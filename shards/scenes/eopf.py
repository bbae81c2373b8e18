"""EOPF Sentinel-2 products, ESA's successor of SAFE: Zarr v2 in a folder or zip, read by GDAL.

Each band comes from its native group alone: Level-2A's coarser groups hold resampled copies. Scale and offset are the
arrays' own attributes, applied once; 0 is absent, not reflectance -0.1. GDAL finds no coordinate system, so that
``proj:epsg`` is given to it. Products whose values were decoded already (Zarr v3, floats) are refused.
"""

import json
import re
import zipfile
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from bandloom.console import logger
from bandloom.errors import SceneError
from bandloom.sensors import SLOT_GSD_M, Sensor, get_sensor
from bandloom.shards.scenes.checksums import check_beside, glancing
from bandloom.shards.scenes.cloud import RasterCloud, scl_cloud
from bandloom.shards.scenes.grid import Frame, GridReader
from bandloom.shards.scenes.options import one_ten_thousandth
from bandloom.shards.scenes.product import Product
from bandloom.shards.scenes.quality import Quality
from bandloom.shards.scenes.raster import Bands
from bandloom.shards.scenes.remote_file import address_of, gdal_name, is_remote
from bandloom.shards.scenes.safe import SafeScene
from bandloom.shards.scenes.scene import WindowM
from bandloom.shards.scenes.stated import Stated
from bandloom.values import NODATA, SATURATED

_GROUP = "measurements/reflectance"
_CHUNK = re.compile(r"(.+?)/\d+[./]\d+")
_TIME = re.compile(r"_(\d{8}T\d{6})_")
_ABSENT_BITS, _SATURATED_BIT = 4 | 8 | 32, 128  # MSI_LOST, MSI_DEG, QT_NODATA; QT_SATURATED_L1A
_CLOUD_BITS = 1 | 2  # opaque, cirrus
_JSON_LIMIT_BYTES = 64 * 2**20


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
    store = _Store(address)
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
        facts = {"product": store.name, "processing_baseline": store.baseline(), "container": "EOPF Zarr v2"}
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


def _bands(store: "_Store", sensor: Sensor, stack: ExitStack) -> tuple[Bands, int]:
    """Return the open rasters of every band from its native group, and the one offset that all state."""
    bands: Bands = {}
    offsets: dict[str, int] = {}
    for band in (band.name for group in sensor.groups for band in group.bands):
        array = f"{_GROUP}/r{SLOT_GSD_M[band]}m/{band.lower()}"
        told = store.attributes(array)
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


def _cloud(store: "_Store", level: str, stack: ExitStack) -> RasterCloud | None:
    if level == "l2a":
        array, test = "conditions/mask/l2a_classification/r20m/scl", scl_cloud
    else:
        array, test = "conditions/mask/l1c_classification/r60m/b00", _flagged
    if not store.has(array):
        return None
    return RasterCloud(stack.enter_context(store.open(array, "Byte")), f"{store.path}/{array}", test)


def _flagged(mask: np.ndarray) -> np.ndarray:
    return (mask[0] & _CLOUD_BITS) != 0


class _Store:
    """A product's Zarr store: metadata as JSON, arrays as rasters."""

    def __init__(self, address: str) -> None:
        self._address, self.path, self._product = address, Path(address), Product(address)
        path = self.path
        inside = [name for name in self._product.names if name.endswith((".zgroup", "zarr.json"))]
        root = min(inside, key=len, default="")
        self._prefix = root.removesuffix(".zgroup").removesuffix("zarr.json")
        self.name = (self._prefix.rstrip("/") or path.name.removesuffix(".zip")).rpartition("/")[2]
        if root.endswith("zarr.json"):
            raise SceneError(
                f"{path} is Zarr v3, as EOPF Explorer's optimised copies are, whose values are decoded floats; take"
                " ESA's own product in Zarr v2."
            )
        if path.is_file() and not glancing():
            _verify_zip(path)
        self._root = self._json(".zattrs")
        self.lacking: dict[str, tuple[int, int]] = {}  # chunks that are not stored, of how many, by array
        chunks = (_CHUNK.fullmatch(name.removeprefix(self._prefix)) for name in self._product.names)
        self._chunks = Counter(match[1] for match in chunks if match)

    def has(self, array: str) -> bool:
        """Tell whether the store holds an array."""
        return f"{self._prefix}{array}/.zarray" in self._product.names

    def fill(self, array: str) -> Any:
        """Return what stands in an array where no chunk is stored."""
        return self._json(f"{array}/.zarray").get("fill_value")

    def attributes(self, array: str) -> dict[str, Any]:
        """Return an array's attributes.

        Raises:
            SceneError: there is no such array.
        """
        if not self.has(array):
            raise SceneError(f"{self.path} lacks {array}; the product is incomplete: fetch it again.")
        return self._json(f"{array}/.zattrs")

    def level(self) -> str:
        """Return l1c or l2a."""
        properties = self._properties()
        told = f"{properties.get('product:type', '')} {properties.get('processing:level', '')} {self.name}".upper()
        has_l1c, has_l2a = ("L1C" in told), ("L2A" in told)
        if has_l1c == has_l2a:
            raise SceneError(f"{self.path} does not say whether it is Level-1C or Level-2A; fetch the product again.")
        return "l1c" if has_l1c else "l2a"

    def baseline(self) -> str | None:
        """Return the processing baseline."""
        other = self._root.get("other_metadata")
        told = self._properties().get("eopf:baseline") or (
            other.get("eopf:baseline") if isinstance(other, dict) else None
        )
        return str(told) if told else None

    def time(self) -> datetime | None:
        """Return the start of sensing; ``datetime`` itself is the text 'null'."""
        properties = self._properties()
        for told in (properties.get("start_datetime"), properties.get("datetime")):
            try:
                time = datetime.fromisoformat(str(told).replace("Z", "+00:00"))
            except ValueError:
                continue
            return time if time.tzinfo else time.replace(tzinfo=UTC)
        match = _TIME.search(self.name)
        return datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if match else None

    def open(self, array: str, kind: str) -> Any:
        """Open an array of two dimensions as a raster with its place.

        Raises:
            SceneError: its type or place is not as a product's, or GDAL cannot read it.
        """
        described, told = self._json(f"{array}/.zarray"), self.attributes(array)
        try:
            height, width = (int(size) for size in described["shape"])
            rows, columns = (int(size) for size in described["chunks"])
            wanted = {"UInt16": ("<u2", ">u2"), "Byte": ("|u1",)}[kind]
            if str(described["dtype"]) not in wanted:
                raise SceneError(
                    f"{self.path}: {array} holds {described['dtype']}; expected {wanted[0]}, no decoded values."
                )
            of = -(-height // rows) * -(-width // columns)
            if kind == "UInt16" and (stored := self._chunks[array]) < of:  # masks without a flag store none
                self.lacking[array] = of - stored, of
            epsg = int(told["proj:epsg"])
            placing = [float(each) for each in told["proj:transform"][:6]]
        except (KeyError, TypeError, ValueError) as cause:
            raise SceneError(f"{self.path}: {array} states no place and size ({cause!r}); fetch it again.") from cause
        a, b, c, d, e, f = placing
        inner = f'ZARR:"{self._gdal_store()}":/{array}'
        nodata = "<NoDataValue>0</NoDataValue>" if kind == "UInt16" else ""
        block = f'blockXSize="{min(columns, width)}" blockYSize="{min(rows, height)}"'
        virtual = (
            f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:{epsg}</SRS>'
            f"<GeoTransform>{c!r}, {a!r}, {b!r}, {f!r}, {d!r}, {e!r}</GeoTransform>"
            f'<VRTRasterBand dataType="{kind}" band="1" {block}>{nodata}<SimpleSource>'
            f'<SourceFilename relativeToVRT="0">{escape(inner)}</SourceFilename><SourceBand>1</SourceBand>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
        return _open_gdal(virtual, self.path)

    def _gdal_store(self) -> str:
        if self.path.is_dir():
            return str(self.path.resolve())
        if is_remote(self._address):
            return f"/vsizip/{{{gdal_name(self._address)}}}/{self._prefix}".rstrip("/")
        return f"/vsizip/{{{self.path.resolve()}}}/{self._prefix}".rstrip("/")

    def _properties(self) -> dict[str, Any]:
        discovery = self._root.get("stac_discovery")
        properties = discovery.get("properties") if isinstance(discovery, dict) else None
        return properties if isinstance(properties, dict) else {}

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads(self._product.read(f"{self._prefix}{name}", _JSON_LIMIT_BYTES))
        except (ValueError, RecursionError) as cause:
            raise SceneError(f"{self.path}: {name} is no JSON ({cause}); fetch the product again.") from cause
        if not isinstance(content, dict):
            raise SceneError(f"{self.path}: {name} is no JSON object; fetch the product again.")
        return content


def _open_gdal(name: str, path: Path) -> Any:
    try:
        return rasterio.open(name)
    except (RasterioError, ValueError) as cause:
        said = " ".join(str(cause).split())[-160:]
        raise SceneError(f"{path} cannot be opened as Zarr ({said}); it may be damaged: fetch it again.") from cause


def _verify_zip(path: Path) -> None:
    """Compare every member of a zip with its CRC.

    Raises:
        SceneError: one differs.
    """
    check_beside(path)
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as cause:
        raise SceneError(f"{path} cannot be opened ({cause}); it may be truncated: fetch it again.") from cause
    if bad is not None:
        raise SceneError(f"{path}: {bad} is damaged (its CRC differs); fetch the product again.")
