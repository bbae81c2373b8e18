"""Identical JPEG 2000 tiles, told from the file's bytes alone: tiles of equal size and bytes decode alike.

Sentinel-2's quality masks hold 5 billion samples a granule, of which hardly any is ever marked; to decode them all
would take half as long as the images.
"""

import struct
from dataclasses import dataclass

_START, _SIZE, _TILE, _PACKED_HEADERS = b"\xff\x4f\xff\x51", 0xFF51, 0xFF90, 0xFF60


@dataclass(frozen=True)
class Tile:
    """Where a tile lies in its image, in pixels."""

    left: int
    top: int
    width: int
    height: int


def distinct_tiles(content: bytes) -> list[Tile] | None:
    """Return one tile of every kind that a JP2 file or codestream holds; None where its bytes do not tell.

    Every other tile equals one of these. (ISO/IEC 15444-1, annex A: the markers SIZ, SOT and PPM.)
    """
    try:
        return _distinct(content)
    except (struct.error, ZeroDivisionError):
        return None


def _distinct(content: bytes) -> list[Tile] | None:
    at = content.find(_START) + 2
    if at < 2:
        return None
    right, bottom, left, top, wide, high, first_x, first_y = struct.unpack_from(">8I", content, at + 6)
    columns = -(-(right - first_x) // wide)
    while (marker := struct.unpack_from(">H", content, at)[0]) != _TILE:
        if marker == _PACKED_HEADERS:
            return None
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    parts: dict[int, bytes] = {}
    while at + 12 <= len(content) and struct.unpack_from(">H", content, at)[0] == _TILE:
        _, number, size = struct.unpack_from(">HHI", content, at + 2)
        end = at + size if size else len(content)
        parts[number] = parts.get(number, b"") + content[at + 12 : end]
        at = end
    kinds: dict[tuple[int, int, bytes], Tile] = {}
    for number, own in parts.items():
        x, y = first_x + number % columns * wide, first_y + number // columns * high
        x, y, end_x, end_y = max(x, left), max(y, top), min(x + wide, right), min(y + high, bottom)
        tile = Tile(x - left, y - top, end_x - x, end_y - y)
        kinds.setdefault((tile.width, tile.height, own), tile)
    return list(kinds.values()) or None
