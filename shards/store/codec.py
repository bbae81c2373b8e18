"""The array codec: one band group of one sample as a standard Blosc2 b2nd frame, with a checksum of the raw bytes.

One b2nd member a band group, not one frame for all: it decodes within 15 % as fast (docs/shard-format.md has the
figures), keeps shapes with the pixels and lets a reader take one group alone.
"""

import struct
from typing import Any, Literal

import blosc2
import numpy as np
import xxhash

from bandloom.errors import ShardError

# Blosc2 starts threads of its own and holds the interpreter unless told: threads of ours would take turns
blosc2.set_nthreads(1)
blosc2.set_releasegil(True)

CodecName = Literal["speed", "default", "archive"]
_PARAMETERS: dict[str, tuple[Any, int, list[Any]]] = {
    "speed": (blosc2.Codec.LZ4HC, 1, [blosc2.Filter.SHUFFLE]),
    "default": (blosc2.Codec.ZSTD, 1, [blosc2.Filter.SHUFFLE]),
    "archive": (blosc2.Codec.ZSTD, 5, [blosc2.Filter.SHUFFLE, blosc2.Filter.BYTEDELTA]),
}
CODECS = tuple(_PARAMETERS)
_HEAD, _CHUNK = struct.Struct(">11xI"), struct.Struct("<4xI4xI")  # of a frame: its own length; of a chunk: raw, packed


def encode(pixels: np.ndarray, codec: CodecName = "default") -> bytes:
    """Compress ``(C, H, W)`` (or a ``(H, W)`` mask) losslessly; the bytes are the same on every run."""
    name, level, filters = _PARAMETERS[codec]
    pixels = np.ascontiguousarray(pixels)
    cparams = {
        "codec": name,
        "clevel": level,
        "filters": filters,
        "filters_meta": [0] * len(filters),
        "typesize": pixels.itemsize,
        "nthreads": 1,
    }
    return blosc2.asarray(pixels, chunks=pixels.shape, blocks=pixels.shape, cparams=cparams).to_cframe()  # pyright: ignore


def decode_into(frame: bytes | memoryview, out: np.ndarray, where: str) -> None:
    """Decompress a frame into ``out``, C-contiguous and of the frame's size.

    Raises:
        ShardError: the frame is damaged or of another size.
    """
    try:
        chunk = _only_chunk(frame, out.nbytes)
        if chunk is not None:
            blosc2.decompress2(chunk, dst=out)
            return
        chunks = blosc2.schunk_from_cframe(bytes(frame))
        if chunks.nbytes != out.nbytes:
            raise ShardError(
                f"{where} holds {chunks.nbytes} bytes of pixels; expected {out.nbytes}: rebuild the shard."
            )
        chunks.decompress_chunk(0, out)
    except (RuntimeError, ValueError, TypeError, IndexError) as cause:
        raise ShardError(
            f"{where} cannot be decompressed ({cause}); the shard is damaged: rebuild or copy it."
        ) from cause


def _only_chunk(frame: bytes | memoryview, nbytes: int) -> memoryview | None:
    """Return the frame's one chunk where it lies right behind the frame's header, which it does unless it is all zeros.

    Blosc2's frame: ``b2frame`` at byte 2, the header's length at 11 (big-endian); a chunk: its raw length at 4, its own
    at 12 (little-endian). Without the objects of a whole frame, a small group decodes twice as fast.
    """
    if frame[2:9] != b"b2frame" or len(frame) < _HEAD.size:
        return None
    (begin,) = _HEAD.unpack_from(frame)
    if begin + _CHUNK.size > len(frame):
        return None
    raw, packed = _CHUNK.unpack_from(frame, begin)
    if raw != nbytes or not 0 < packed <= len(frame) - begin:
        return None
    return memoryview(frame)[begin : begin + packed]


def checksum(pixels: np.ndarray) -> str:
    """Return the xxh3 of the raw bytes, 16 hex digits."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(pixels).data)
