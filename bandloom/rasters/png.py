"""A PNG writer for colours with transparency; GDAL's own leaves side files and warns in every thread."""

import struct
import zlib

import numpy as np


def png(rgba: np.ndarray) -> bytes:
    """Return ``(H, W, 4)`` uint8 as a PNG (ISO/IEC 15948: header, one compressed block of unfiltered rows, end)."""
    height, width, _ = rgba.shape
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # each begins with its filter's number, 0
    rows[:, 1:] = rgba.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
