"""The store of an EOPF product: its metadata as JSON, its arrays as rasters, in Zarr v2 or v3, a folder or a zip."""

import json
import re
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError

from bandloom.errors import SceneError, said
from bandloom.shards.scenes.checksums import check_beside, glancing
from bandloom.shards.scenes.chunk_raster import ChunkedArray, ChunkRaster, chunked_array
from bandloom.shards.scenes.readers.product import Product
from bandloom.shards.scenes.remote_file import gdal_name, is_remote

_TIME = re.compile(r"_(\d{8}T\d{6})_")
_JSON_LIMIT_BYTES = 64 * 2**20
_CHUNK_LIMIT_BYTES = 2**28  # ESA's hold 6.7 MB before they are packed
_GROUP_GSD = re.compile(r"/r(\d+)m(?=/)")


class EopfStore:
    """A product's Zarr store: metadata as JSON, arrays as rasters."""

    def __init__(self, address: str) -> None:
        self._address, self.path, self._product = address, Path(address), Product(address)
        path = self.path
        inside = [name for name in self._product.names if name.endswith((".zgroup", "zarr.json"))]
        root = min(inside, key=len, default="")
        self._prefix = root.removesuffix(".zgroup").removesuffix("zarr.json")
        self.name = (self._prefix.rstrip("/") or path.name.removesuffix(".zip")).rpartition("/")[2]
        self.version = 3 if root.endswith("zarr.json") else 2
        if path.is_file() and not glancing():
            _verify_zip(path)
        self._there = set(self._product.names)
        self._root = self._attributes("")
        self.lacking: dict[str, tuple[int, int]] = {}  # chunks that are not stored, of how many, by array

    def has(self, array: str) -> bool:
        """Tell whether the store holds an array."""
        return f"{self._prefix}{array}/{'.zarray' if self.version == 2 else 'zarr.json'}" in self._there

    def fill(self, array: str) -> Any:
        """Return what stands in an array where no chunk is stored."""
        return self._json(f"{array}/{'.zarray' if self.version == 2 else 'zarr.json'}").get("fill_value")

    def attributes(self, array: str) -> dict[str, Any]:
        """Return an array's attributes.

        Raises:
            SceneError: there is no such array.
        """
        if not self.has(array):
            raise SceneError(f"{self.path} lacks {array}; the product is incomplete: fetch it again.")
        return self._attributes(f"{array}/")

    def _attributes(self, inside: str) -> dict[str, Any]:
        if self.version == 2:
            return self._json(f"{inside}.zattrs")
        told = self._json(f"{inside}zarr.json").get("attributes")
        return told if isinstance(told, dict) else {}

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
        return self._open_v2(array, kind) if self.version == 2 else self._open_v3(array, kind)

    def _open_v2(self, array: str, kind: str) -> Any:
        described, told = self._json(f"{array}/.zarray"), self.attributes(array)
        try:
            height, width = (int(size) for size in described["shape"])
            rows, columns = (int(size) for size in described["chunks"])
            wanted = {"UInt16": ("<u2", ">u2"), "Byte": ("|u1",)}[kind]
            if str(described["dtype"]) not in wanted:
                raise SceneError(
                    f"{self.path}: {array} holds {described['dtype']}; expected {wanted[0]}, no decoded values."
                )
            separator = described.get("dimension_separator", ".")
            if separator not in (".", "/"):
                raise ValueError(f"the separator {separator!r}")
            if not isinstance(fill := described["fill_value"], int | None):
                raise ValueError(f"the fill value {fill!r}")
            self._count(array, kind, (height, width), (rows, columns), lambda *at: separator.join(map(str, at)))
            epsg = int(told["proj:epsg"])
            placing = [float(each) for each in told["proj:transform"][:6]]
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as cause:
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

    def _open_v3(self, array: str, kind: str) -> ChunkRaster:
        described = self._chunked(array)
        if described.dtype.itemsize != {"UInt16": 2, "Byte": 1}[kind]:
            raise SceneError(f"{self.path}: {array} holds {described.dtype}; expected the product's {kind}.")
        height, width = described.shape
        self._count(array, kind, described.shape, described.chunks, described.name)
        crs, transform = self._place(array, height, width)
        nodata = 0 if kind == "UInt16" else None
        return ChunkRaster(
            described, partial(self._stored, f"{self._prefix}{array}/"), crs, transform, f"{self.path}/{array}", nodata
        )

    def check_stored(self, array: str) -> None:
        """Refuse an array of v3 whose values are not those that ESA stores.

        Raises:
            SceneError: they are decoded floats, or in shards.
        """
        if self.version == 3:
            self._chunked(array)

    def _chunked(self, array: str) -> ChunkedArray:
        try:
            return chunked_array(self._json(f"{array}/zarr.json"))
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
            raise SceneError(
                f"{self.path} is Zarr v3 with {said(cause)} in {array}; expected 16-bit integers as ESA's processor"
                " writes them, no decoded values, as EOPF Explorer's optimised copies have: take ESA's own product."
            ) from cause

    def _place(self, array: str, height: int, width: int) -> tuple[CRS, Affine]:
        """Return where an array lies: as it states itself, or the product's box in pixels of its group's size.

        Raises:
            SceneError: neither says so, or the box has another size.
        """
        own, properties = self.attributes(array), self._properties()
        try:
            if "proj:epsg" in own:
                return CRS.from_epsg(int(own["proj:epsg"])), Affine(*map(float, own["proj:transform"][:6]))
            crs = CRS.from_user_input(str(properties["proj:code"]))
            west, south, east, north = map(float, properties["proj:bbox"])
            gsd_m = int(_GROUP_GSD.findall(array)[-1])
        except (KeyError, TypeError, ValueError, IndexError, CRSError) as cause:
            raise SceneError(
                f"{self.path}: neither {array} nor the product says where it lies ({cause!r}); fetch it again."
            ) from cause
        if (width * gsd_m, height * gsd_m) != (east - west, north - south):
            raise SceneError(
                f"{self.path}: {array} has {width} x {height} pixels of {gsd_m} m in a product of {east - west:g} x"
                f" {north - south:g} m; fetch it again."
            )
        return crs, Affine(gsd_m, 0, west, 0, -gsd_m, north)

    def _stored(self, folder: str, chunk: str) -> bytes | None:
        """Return the bytes of a chunk; None where it is not stored."""
        name = f"{folder}{chunk}"
        return self._product.read(name, _CHUNK_LIMIT_BYTES) if name in self._there else None

    def _count(
        self, array: str, kind: str, shape: Sequence[int], chunk: Sequence[int], name: Callable[[int, int], str]
    ) -> None:
        """Note how many chunks of pixels are not stored under their names; masks without a flag store none."""
        rows, columns = (-(-side // own) for side, own in zip(shape, chunk, strict=True))
        named = (name(row, column) for row in range(rows) for column in range(columns))
        missing = sum(f"{self._prefix}{array}/{one}" not in self._there for one in named)
        if kind == "UInt16" and missing:
            self.lacking[array] = missing, rows * columns

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
        words = " ".join(str(cause).split())[-160:]
        raise SceneError(f"{path} cannot be opened as Zarr ({words}); it may be damaged: fetch it again.") from cause


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
