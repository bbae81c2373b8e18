"""Tortilla and TACO files, version 1: items one after the other, and a Parquet table of them behind the last.

The first 18 bytes are ``#y`` (Tortilla) or ``WX`` (TACO), then where the table begins and how long it is, in little
endian. An item may be a Tortilla itself; places in it count from its own first byte. Its authors' ``tacoreader`` 0.x
reads the same; nothing is checked there, and a place beyond the file is refused here.
"""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandloom.errors import SceneError, said
from bandloom.shards.corpora.parquet import BROKEN, parquet

SUFFIXES = (".taco", ".tortilla")
NESTED = "TORTILLA"  # the format of an item that holds items
_HEAD = struct.Struct("<2sQQ")
_MAGIC = (b"#y", b"WX")
_TABLE_LIMIT_BYTES = 2**28  # of one file's table; 50,000 items have 10 MB
_ITEM_LIMIT_BYTES = 2**30
_OWN = ("tortilla:id", "tortilla:file_format", "tortilla:offset", "tortilla:length")


@dataclass(frozen=True)
class Item:
    """One item: its id and format, where it lies in its file, and what else the table says of it."""

    id: str
    format: str
    begin: int
    length: int
    facts: dict[str, Any]


def is_tortilla(path: Path) -> bool:
    """Tell by name and first bytes whether a file is one of these; the ZIP that is TACO version 2 is not."""
    if not path.name.lower().endswith(SUFFIXES) or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(2) in _MAGIC


def columns_of(path: Path) -> tuple[set[str], int]:
    """Return the names of a table's columns, and how many items it lists; no item is read.

    Raises:
        SceneError: the file is damaged.
    """
    try:
        content, _, _ = _table(path, 0, path.stat().st_size)
        told = parquet().read_metadata(io.BytesIO(content))
    except BROKEN as cause:
        raise _broken(path, cause) from cause
    return set(told.schema.names), told.num_rows


def items_of(path: Path, columns: Sequence[str] = (), inside: Item | None = None) -> list[Item]:
    """Return the items of a file, or those inside one of its items, in the table's order.

    Args:
        path: the file.
        columns: what to keep of the table beside an item's id, format and place; those it lacks are left out.
        inside: an item that holds items.

    Raises:
        SceneError: the file or its table is damaged, or places an item beyond its end.
    """
    begin, end = (0, path.stat().st_size) if inside is None else (inside.begin, inside.begin + inside.length)
    try:
        content, at, _ = _table(path, begin, end)
        file = parquet().ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        there = set(file.schema_arrow.names)
        rows = file.read(columns=[name for name in (*_OWN, *columns) if name in there]).to_pylist()
    except BROKEN as cause:
        raise _broken(path, cause) from cause
    return [_item(path, row, begin, at) for row in rows]


def content_of(path: Path, item: Item) -> bytes:
    """Return the bytes of an item.

    Raises:
        SceneError: the file ends before it does, or it is larger than any sample.
    """
    if item.length > _ITEM_LIMIT_BYTES:
        raise SceneError(f"{path} states {item.length} bytes for {item.id}, which no sample has; fetch it again.")
    return _read(path, item.begin, item.length)


def _table(path: Path, begin: int, end: int) -> tuple[bytes, int, int]:
    """Return the bytes of a table, and where it begins and how long it is."""
    head = _read(path, begin, _HEAD.size)
    magic, offset, length = _HEAD.unpack(head)
    at = begin + offset
    if magic not in _MAGIC or length > _TABLE_LIMIT_BYTES or offset < _HEAD.size or at + length > end:
        raise SceneError(
            f"{path} holds no table of its items where it says ({length} bytes at {at} of {end}); it was cut short:"
            " fetch it again."
        )
    return _read(path, at, length), at, length


def _item(path: Path, row: dict[str, Any], begin: int, end: int) -> Item:
    try:
        name, kind = (str(row[column]) for column in _OWN[:2])
        at, length = (int(row[column]) for column in _OWN[2:])
    except (KeyError, TypeError, ValueError) as cause:
        raise SceneError(
            f"{path} lists an item without id, format or place ({said(cause)}); fetch it again."
        ) from cause
    if at < _HEAD.size or length < 1 or begin + at + length > end:
        raise SceneError(
            f"{path} places {name} at {at} with {length} bytes, which is not before its table; fetch it again."
        )
    return Item(name, kind, begin + at, length, {name: value for name, value in row.items() if name not in _OWN})


def _read(path: Path, begin: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            content = file.read(length)
    except OSError as cause:
        raise _broken(path, cause) from cause
    if len(content) < length:
        raise SceneError(f"{path} ends at {begin + len(content)}; it was cut short: fetch it again.")
    return content


def _broken(path: Path, cause: Exception) -> SceneError:
    return SceneError(f"{path} cannot be read ({said(cause)}); it is damaged: fetch it again.")
