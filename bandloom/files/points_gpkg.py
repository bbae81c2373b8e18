"""Changes cells of a GeoPackage and nothing else: other tables, styles, types and empty cells stay as they are."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bandloom.errors import OutputError
from bandloom.files.vector_errors import why_unreadable

Columns = Mapping[str, Sequence[Any]]
# what triggers of a spatial index call, by their number of arguments; they look at rows whose place changes: none does
_SPATIAL = {"ST_IsEmpty": 1, "ST_MinX": 1, "ST_MaxX": 1, "ST_MinY": 1, "ST_MaxY": 1}


def changed_gpkg(path: Path, layer: str, fids: Sequence[int], read: Columns, columns: Columns) -> bytes:
    """Return the content of a GeoPackage with some cells changed.

    Args:
        path: the GeoPackage as it is on disk, with what a write-ahead log beside it holds.
        layer: the table.
        fids: of its features, in the order of the columns' cells.
        read: the columns as they were read.
        columns: the columns as they shall be; new ones are added.

    Raises:
        OutputError: the file cannot be changed.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.gpkg"
        try:
            with (
                closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE")
                for name, arguments in _SPATIAL.items():
                    target.create_function(name, arguments, lambda *_: 0)
                _Table(target, layer, fids).change(read, columns)
                target.commit()
            return copy.read_bytes()
        except sqlite3.Error as cause:
            if "locked" in str(cause):
                raise OutputError(f"{path} {why_unreadable(path, cause)}.") from cause
            raise OutputError(f"{path} cannot be changed ({cause}); copy its points to a new GeoPackage.") from cause


class _Table:
    """One table of features in an open database."""

    def __init__(self, database: sqlite3.Connection, name: str, fids: Sequence[int]) -> None:
        self._database, self._name, self._fids = database, name, [int(fid) for fid in fids]
        told = database.execute(f"PRAGMA table_info({_quoted(name)})").fetchall()
        self._types = {column: str(kind).upper() for _, column, kind, *_ in told}
        self._key = next((column for _, column, _, _, _, key in told if key), "rowid")

    def change(self, read: Columns, columns: Columns) -> None:
        """Write every cell that differs from what was read."""
        for column, values in columns.items():
            cells = [_plain(value) for value in values]
            before = [_plain(value) for value in read.get(column, [None] * len(cells))]
            differing = [number for number, cell in enumerate(cells) if cell != before[number]]
            if column not in self._types:
                self._add(column, cells)
            elif any(isinstance(cells[number], str) for number in differing):
                self._make_text(column)
            sentence = f"UPDATE {_quoted(self._name)} SET {_quoted(column)} = ? WHERE {_quoted(self._key)} = ?"
            self._database.executemany(sentence, [(cells[number], self._fids[number]) for number in differing])
        stamp = "UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE table_name = ?"
        self._database.execute(stamp, (self._name,))

    def _add(self, column: str, cells: Sequence[Any]) -> None:
        known = [cell for cell in cells if cell is not None]
        whole = bool(known) and all(isinstance(cell, int) for cell in known)
        kind = "INTEGER" if whole else "REAL" if known and all(isinstance(c, int | float) for c in known) else "TEXT"
        self._database.execute(f"ALTER TABLE {_quoted(self._name)} ADD COLUMN {_quoted(column)} {kind}")
        self._types[column] = kind

    def _make_text(self, column: str) -> None:
        """Turn a column of numbers into one of text, which a name of a class wants."""
        if self._types[column].startswith("TEXT"):
            return
        table, old, new = _quoted(self._name), _quoted(column), _quoted(f"{column} as text")
        self._database.execute(f"ALTER TABLE {table} ADD COLUMN {new} TEXT")
        self._database.execute(f"UPDATE {table} SET {new} = CAST({old} AS TEXT)")
        self._database.execute(f"ALTER TABLE {table} DROP COLUMN {old}")
        self._database.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
        self._types[column] = "TEXT"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: Any) -> Any:
    """Return a cell as SQLite stores it; None for NaN and NaT."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or value != value:
        return None
    return value if isinstance(value, int | float | str | bytes) else str(value)
