"""Parquet files of corpora: pyarrow, imported when one is first needed, and small tables read whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bandloom.errors import MissingExtraError, SceneError, said

# What pyarrow raises on damaged bytes; its own errors derive from these
BROKEN = (OSError, ValueError, KeyError, TypeError, IndexError, NotImplementedError, MemoryError, RuntimeError)


def parquet() -> Any:
    """Return the module ``pyarrow.parquet``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as cause:
        raise MissingExtraError("pyarrow", "parquet") from cause
    return pq


def rows_of(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return some columns of a small table, row by row.

    Raises:
        SceneError: it is damaged, or lacks a column.
    """
    module = parquet()
    try:
        return module.read_table(path, columns=list(columns)).to_pylist()
    except BROKEN as cause:
        raise SceneError(
            f"{path} gives no {' and '.join(columns)} ({said(cause)}); fetch it again, or move it away."
        ) from cause
