"""Zarr v2 arrays in a zip, in a zip held in memory, or in a folder, read strictly: a chunk that is missing is an error.

Zarr's own reader gives the fill value for a missing chunk, which is right for sparse arrays and wrong for pixels that a
cut-short download has lost. What is read here is what the corpora use: C order, no filters, Blosc, zlib, gzip,
Zstandard where Python has it, or no compression. Zip members are verified by their CRC; of two of one name the last
counts, since a writer that changes its mind about metadata appends it again.
"""

import gzip
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.errors import MissingExtraError, SceneError, said

_LIMIT_BYTES = 2**30  # of one decoded chunk; SSL4EO-S12 v1.1's are 118 MB
_SMALL_BYTES = 64 * 2**20  # of a metadata file, or a coordinate array read whole
_BROKEN = (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, struct.error)


@dataclass(frozen=True)
class ArrayInfo:
    """What ``.zarray`` and ``.zattrs`` say of an array."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    compressor: dict[str, Any] | None
    separator: str
    fill: int | float | str
    attributes: dict[str, Any]

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of its dimensions, as xarray writes them."""
        return tuple(self.attributes.get("_ARRAY_DIMENSIONS", ()))


class ZarrV2:
    """The arrays of one Zarr v2 group."""

    def __init__(self, place: Path | bytes, name: str) -> None:
        """Open a folder, a zip on disk, or the bytes of a zip; ``name`` is for messages.

        Raises:
            SceneError: it is neither, or holds no Zarr v2 group.
        """
        self.name = name
        self._folder: Path | None = place if isinstance(place, Path) and place.is_dir() else None
        self._zip: zipfile.ZipFile | None = None
        if self._folder is None:
            try:
                self._zip = zipfile.ZipFile(io.BytesIO(place) if isinstance(place, bytes) else place)
                members = self._zip.namelist()
            except _BROKEN as cause:
                raise self._broken("the zip", cause) from cause
            groups = sorted((member for member in members if member.rpartition("/")[2] == ".zgroup"), key=len)
            if not groups:
                what = "Zarr v3" if any(member.endswith("zarr.json") for member in members) else "no Zarr v2 group"
                self.close()
                raise SceneError(f"{name} is {what}; expected the published Zarr v2 edition: fetch it again.")
            self._prefix = groups[0].removesuffix(".zgroup")
            self._members = set(members)
        self._infos: dict[str, ArrayInfo] = {}

    def __contains__(self, array: str) -> bool:
        if self._folder is not None:
            return (self._folder / array / ".zarray").is_file()
        return f"{self._prefix}{array}/.zarray" in self._members

    def info(self, array: str) -> ArrayInfo:
        """Return an array's metadata.

        Raises:
            SceneError: there is no such array, or what it says cannot be.
        """
        if array not in self._infos:
            if array not in self:
                raise SceneError(f"{self.name} holds no array {array!r}; it is incomplete: fetch it again.")
            described = self._json(f"{array}/.zarray")
            attributes = self._json(f"{array}/.zattrs") if self._has(f"{array}/.zattrs") else {}
            try:
                self._infos[array] = _info(described, attributes)
            except (KeyError, TypeError, ValueError) as cause:
                raise self._broken(f"the description of {array!r}", cause) from cause
        return self._infos[array]

    def read(self, array: str, *, sparse: bool = True) -> np.ndarray:
        """Return a small array whole; with ``sparse``, a chunk that is absent holds the array's fill value.

        Writers leave out chunks of nothing but it: a time of 0 days since its own day, a mask without cloud. Pixels are
        read without ``sparse``.

        Raises:
            SceneError: it is damaged, incomplete, or no small array.
        """
        info = self.info(array)
        if math.prod(info.shape) * info.dtype.itemsize > _SMALL_BYTES:
            raise SceneError(f"{self.name} states {info.shape} for {array!r}, which is no coordinate: fetch it again.")
        out = np.empty(info.shape, info.dtype)
        counts = [math.ceil(size / step) for size, step in zip(info.shape, info.chunks, strict=True)]
        for at in product(*map(range, counts)):
            place = tuple(
                slice(i * step, min((i + 1) * step, size))
                for i, step, size in zip(at, info.chunks, info.shape, strict=True)
            )
            if sparse and not self._has(self._key(array, at)):
                out[place] = info.fill
            else:
                out[place] = self.chunk(array, at)[tuple(slice(0, s.stop - s.start) for s in place)]
        return out

    def has_chunk(self, array: str, at: Sequence[int]) -> bool:
        """Tell whether a chunk is stored."""
        return self._has(self._key(array, at))

    def chunk(self, array: str, at: Sequence[int]) -> np.ndarray:
        """Return one chunk in its full size, whatever of it lies beyond the array's edge.

        Raises:
            SceneError: it is missing or damaged.
        """
        info = self.info(array)
        key = self._key(array, at)
        if not self._has(key):
            raise SceneError(f"{self.name} lacks chunk {key}; it was cut short: fetch it again.")
        try:
            raw = _decompress(self._bytes(key), info)
        except (*_BROKEN, zlib.error, MemoryError, TypeError) as cause:
            raise self._broken(f"chunk {key}", cause) from cause
        return np.frombuffer(raw, info.dtype).reshape(info.chunks)

    def close(self) -> None:
        """Close the zip."""
        if self._zip is not None:
            self._zip.close()

    def __enter__(self) -> "ZarrV2":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _key(self, array: str, at: Sequence[int]) -> str:
        return f"{array}/{self.info(array).separator.join(map(str, at)) or '0'}"

    def _has(self, key: str) -> bool:
        if self._folder is not None:
            return (self._folder / key).is_file()
        return self._prefix + key in self._members

    def _bytes(self, key: str) -> bytes:
        if self._folder is not None:
            return (self._folder / key).read_bytes()
        if self._zip is None or self._zip.getinfo(self._prefix + key).file_size > _LIMIT_BYTES:
            raise ValueError("larger than any chunk of these sets")
        return self._zip.read(self._prefix + key)

    def _json(self, key: str) -> dict[str, Any]:
        try:
            content = json.loads(self._bytes(key))
        except (*_BROKEN, zlib.error, RecursionError) as cause:
            raise self._broken(key, cause) from cause
        if not isinstance(content, dict):
            raise SceneError(f"{self.name}: {key} is no JSON object; it is damaged: fetch it again.")
        return content

    def _broken(self, what: str, cause: BaseException) -> SceneError:
        return SceneError(f"{self.name}: {what} cannot be read ({said(cause)}); it is damaged: fetch it again.")


def _info(described: dict[str, Any], attributes: dict[str, Any]) -> ArrayInfo:
    if described["zarr_format"] != 2:
        raise ValueError(f"Zarr format {described['zarr_format']}")
    shape, chunks = (tuple(int(size) for size in described[name]) for name in ("shape", "chunks"))
    dtype = np.dtype(described["dtype"])
    if described.get("filters"):
        raise ValueError(f"filters {described['filters']}")
    if dtype.hasobject or len(shape) != len(chunks) or any(size < 0 for size in shape) or any(c < 1 for c in chunks):
        raise ValueError(f"{dtype} of shape {shape} in chunks {chunks}")
    if math.prod(chunks) * dtype.itemsize > _LIMIT_BYTES:
        raise ValueError(f"chunks of {chunks}")
    dims = attributes.get("_ARRAY_DIMENSIONS", [])
    if not isinstance(dims, list) or not all(isinstance(dim, str) for dim in dims):
        raise ValueError(f"dimensions {dims!r}")
    if described.get("order", "C") != "C" and len(shape) > 1:
        raise ValueError(f"values in the order {described['order']!r}, in which no published edition stores them")
    fill = described.get("fill_value")
    fill = fill if isinstance(fill, int | float | str) else "" if dtype.kind in "US" else 0  # as zarr reads null
    np.full((), fill, dtype)  # a fill value that its type cannot hold is refused
    return ArrayInfo(
        shape,
        chunks,
        dtype,
        described.get("compressor"),
        described.get("dimension_separator", "."),
        fill,
        attributes,
    )


def _decompress(packed: bytes, info: ArrayInfo) -> bytes:
    """Return a chunk's raw bytes.

    Raises:
        ValueError: they are not as many as the array's metadata state, or the codec is not known.
    """
    wanted = math.prod(info.chunks) * info.dtype.itemsize
    codec = (info.compressor or {}).get("id")
    if codec is None:
        raw = packed
    elif codec == "blosc":
        raw = _unblosc(packed, wanted)
    elif codec in ("zlib", "gzip"):
        raw = zlib.decompress(packed) if codec == "zlib" else gzip.decompress(packed)
    elif codec == "zstd":
        raw = _unzstd(packed)
    else:
        raise ValueError(f"compressed by {codec}, which is not read")
    if len(raw) != wanted:
        raise ValueError(f"{len(raw)} bytes where its metadata state {wanted}")
    return raw


def _unblosc(packed: bytes, wanted: int) -> bytes:
    try:
        import blosc2
    except ModuleNotFoundError as cause:
        raise MissingExtraError("blosc2", "shards") from cause
    if len(packed) < 16:
        raise ValueError("shorter than a Blosc header")
    (stated, _, own) = struct.unpack_from("<III", packed, 4)
    if stated != wanted or own != len(packed):
        raise ValueError(f"a Blosc chunk of {stated} bytes in {own}, where {wanted} in {len(packed)} are expected")
    return blosc2.decompress(packed)  # pyright: ignore[reportReturnType]


def _unzstd(packed: bytes) -> bytes:
    try:
        from compression import zstd  # Python 3.14  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise ValueError("compressed by bare Zstandard, which needs Python 3.14") from cause
    return zstd.decompress(packed)
