"""An array of a Zarr v3 store as a raster: what scenes ask of an open raster, its chunks decoded as windows need them.

GDAL up to 3.10 reads drafts of Zarr v3, not its standard. Chunks are the same bytes in both versions, so each is given
to GDAL's Zarr v2 driver as a store of one chunk in memory: Zstandard, Blosc and gzip need no package more.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.io import MemoryFile

_TYPES = {"uint8": "u1", "uint16": "u2"}
_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
_KEPT = 2  # decoded chunks: a strip of samples lies across two rows of them at most


@dataclass(frozen=True)
class ChunkedArray:
    """What ``zarr.json`` says of an array of two dimensions.

    Attributes:
        shape: rows and columns.
        chunks: rows and columns of a chunk.
        dtype: of a stored value, with its byte order.
        compressor: as Zarr v2 writes it; None where chunks are plain bytes.
        separator: of a chunk's numbers in its name.
        fill: the value of all samples of a chunk that is not stored.
    """

    shape: tuple[int, int]
    chunks: tuple[int, int]
    dtype: np.dtype[Any]
    compressor: dict[str, Any] | None
    separator: str
    fill: int

    def name(self, row: int, column: int) -> str:
        """Return the name of a chunk inside the array."""
        return self.separator.join(("c", str(row), str(column)))


def chunked_array(told: dict[str, Any]) -> ChunkedArray:
    """Return what ``zarr.json`` says.

    Raises:
        KeyError: it lacks something.
        ValueError: it says what is not read here: decoded floats, shards, other codecs than Zstandard, Blosc and gzip.
    """
    if told["zarr_format"] != 3 or told["node_type"] != "array":
        raise ValueError(f"Zarr format {told['zarr_format']}, {told['node_type']}")
    grid, keys = told["chunk_grid"], told["chunk_key_encoding"]
    if grid["name"] != "regular" or keys["name"] != "default" or told.get("storage_transformers"):
        raise ValueError(f"chunks in a {grid['name']} grid under {keys['name']} names")
    if told["data_type"] not in _TYPES:
        raise ValueError(f"values of {told['data_type']}")
    first, *packing = told["codecs"]
    if first["name"] != "bytes" or len(packing) > 1:
        raise ValueError(f"the codecs {', '.join(str(codec['name']) for codec in told['codecs'])}")
    order = "<" if first.get("configuration", {}).get("endian", "little") == "little" else ">"
    (height, width), (rows, columns) = (
        map(int, pair) for pair in (told["shape"], grid["configuration"]["chunk_shape"])
    )
    if min(height, width, rows, columns) < 1:
        raise ValueError(f"{height} x {width} values in chunks of {rows} x {columns}")
    dtype, fill = np.dtype(order + _TYPES[told["data_type"]]), told["fill_value"]
    if not isinstance(fill, int) or not 0 <= fill <= np.iinfo(dtype).max:
        raise ValueError(f"the fill value {fill!r} of {told['data_type']}")
    return ChunkedArray(
        (height, width),
        (rows, columns),
        dtype,
        _compressor(packing[0]) if packing else None,
        keys.get("configuration", {}).get("separator", "/"),
        fill,
    )


def _compressor(codec: dict[str, Any]) -> dict[str, Any]:
    name, told = codec["name"], codec.get("configuration", {})
    if name == "zstd":
        return {"id": "zstd", "level": int(told.get("level", 0))}
    if name == "gzip":
        return {"id": "gzip", "level": int(told.get("level", 5))}
    if name == "blosc":
        shuffle = _SHUFFLES[told.get("shuffle", "noshuffle")]
        return {"id": "blosc", "cname": told["cname"], "clevel": told["clevel"], "shuffle": shuffle, "blocksize": 0}
    raise ValueError(f"chunks packed by {name}")


class ChunkRaster:
    """One band, with the attributes and methods of a rasterio dataset that scenes use."""

    driver = "Zarr"
    count, indexes = 1, (1,)
    gcps: tuple[list[Any], None] = ([], None)
    rpcs = None
    colorinterp = (ColorInterp.gray,)

    def __init__(
        self,
        array: ChunkedArray,
        chunk_bytes: Callable[[str], bytes | None],
        crs: CRS,
        transform: Affine,
        name: str,
        nodata: float | None,
    ) -> None:
        """Look at an array of which ``chunk_bytes`` gives a chunk by its name, None where it is not stored."""
        self._array, self._bytes = array, chunk_bytes
        self.crs, self.transform, self.name = crs, transform, name
        self.height, self.width = self.shape = array.shape
        self.dtypes = (array.dtype.name,)
        self.block_shapes = (array.chunks,)
        self.nodatavals = (nodata,)
        self.mask_flag_enums = ([MaskFlags.all_valid if nodata is None else MaskFlags.nodata],)
        self._kept: dict[tuple[int, int], np.ndarray] = {}

    def overviews(self, index: int) -> list[int]:
        """Return none: the store has no smaller copies on this grid."""
        return []

    def tags(self, *_: Any, **__: Any) -> dict[str, str]:
        """Return none: what the store says of its values stands in its attributes."""
        return {}

    def read(
        self,
        indexes: int | Sequence[int] | None = None,
        window: Any = None,
        out_shape: tuple[int, ...] | None = None,
    ) -> np.ndarray:
        """Return ``(1, H, W)`` of a window, or ``(H, W)`` where ``indexes`` is a number; thinned to ``out_shape``.

        Raises:
            RasterioError: a chunk is damaged.
        """
        top, left, bottom, right = self._edges(window)
        out = np.zeros((bottom - top, right - left), self._array.dtype.newbyteorder("="))
        rows, columns = self._array.chunks
        for row in range(top // rows, -(-bottom // rows)):
            for column in range(left // columns, -(-right // columns)):
                y, x = max(top, row * rows), max(left, column * columns)
                part = self._chunk(row, column)[y - row * rows : bottom - row * rows, x - column * columns :]
                part = part[:, : right - x]
                out[y - top : y - top + part.shape[0], x - left : x - left + part.shape[1]] = part
        if out_shape is not None:
            take = [
                ((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(out_shape[-2:], out.shape, strict=True)
            ]
            out = out[np.ix_(*take)]
        return out if isinstance(indexes, int) else out[None]

    def close(self) -> None:
        """Let go of decoded chunks."""
        self._kept.clear()

    def __enter__(self) -> "ChunkRaster":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _edges(self, window: Any) -> tuple[int, int, int, int]:
        if window is None:
            return 0, 0, self.height, self.width
        if isinstance(window, tuple):
            (top, bottom), (left, right) = window
        else:
            top, left = round(window.row_off), round(window.col_off)
            bottom, right = top + round(window.height), left + round(window.width)
        if not (0 <= top < bottom <= self.height and 0 <= left < right <= self.width):
            raise RasterioIOError(f"a window of {top, left, bottom, right} outside of {self.shape}")
        return top, left, bottom, right

    def _chunk(self, row: int, column: int) -> np.ndarray:
        at = row, column
        if at not in self._kept:
            content = self._bytes(self._array.name(row, column))
            chunk = self._filled() if content is None else self._decoded(content, at)
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[at] = chunk
        return self._kept[at]

    def _filled(self) -> np.ndarray:
        return np.full(self._array.chunks, self._array.fill, self._array.dtype)

    def _decoded(self, content: bytes, at: tuple[int, int]) -> np.ndarray:
        array = self._array
        if array.compressor is None:
            if len(content) != array.chunks[0] * array.chunks[1] * array.dtype.itemsize:
                raise RasterioIOError(f"chunk {at} holds {len(content)} bytes")
            return np.frombuffer(content, array.dtype).reshape(array.chunks)
        described = {
            "zarr_format": 2,
            "shape": array.chunks,
            "chunks": array.chunks,
            "dtype": array.dtype.str,
            "compressor": array.compressor,
            "fill_value": 0,
            "order": "C",
            "filters": None,
        }
        folder = uuid.uuid4().hex
        with ExitStack() as files:
            files.enter_context(MemoryFile(json.dumps(described).encode(), dirname=folder, filename=".zarray"))
            files.enter_context(MemoryFile(content, dirname=folder, filename="0.0"))
            try:
                return files.enter_context(rasterio.open(_virtual(folder, array))).read(1)
            except (RasterioError, ValueError) as cause:
                raise RasterioIOError(f"chunk {at} cannot be decoded: {cause}") from cause


def _virtual(folder: str, array: ChunkedArray) -> str:
    """Return a virtual raster over a store in memory; it has a place, for want of which rasterio would warn."""
    kind = {1: "Byte", 2: "UInt16"}[array.dtype.itemsize]
    return (
        f'<VRTDataset rasterXSize="{array.chunks[1]}" rasterYSize="{array.chunks[0]}">'
        f'<GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform><VRTRasterBand dataType="{kind}" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">ZARR:"/vsimem/{folder}"</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
