"""Table of predictions: Parquet where pyarrow is installed, CSV elsewhere."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bandloom.files.output import new_output


def write_table(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write ``FOLDER/NAME.parquet``, or ``NAME.csv`` without pyarrow (``pip install 'bandloom[parquet]'``).

    Args:
        folder: where to.
        name: without a suffix.
        rows: all with the same keys.

    Returns:
        The file that was written.
    """
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        return _write_csv(folder / f"{name}.csv", rows)
    path = folder / f"{name}.parquet"
    with new_output(path, overwrite=True) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), temporary)
    return path


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with new_output(path, overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    return path
