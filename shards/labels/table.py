"""Tables of labels and of chips: CSV and Parquet, by named columns."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bandloom.errors import LabelError, MissingExtraError


def read_csv(
    path: Path, columns: tuple[str, ...], encoding: str | None = None
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yield the rows of a CSV, each after the number of its line (its last, where a cell holds several).

    Args:
        path: the file.
        columns: those that it must have.
        encoding: the text's; None: UTF-8, with or without a byte-order mark.

    Raises:
        LabelError: it cannot be read, lacks a column or has it twice, or a row has more cells than the header.
    """
    try:
        with path.open(newline="", encoding=encoding or "utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            _check_header(path, header, columns)
            for row in reader:
                if None in row:
                    raise LabelError(
                        f"{path} line {reader.line_num} has more cells than the header; put cells that hold commas into"
                        " quotes."
                    )
                yield reader.line_num, row
    except (OSError, UnicodeError, csv.Error) as cause:
        raise LabelError(
            f"{path} cannot be read as a table ({cause}); write it as CSV in UTF-8, or name its encoding with"
            " --label-encoding."
        ) from cause


def read_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, each column by its name, a list of text as a list.

    Raises:
        LabelError: it cannot be read, or lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("pyarrow (for Parquet files)", "parquet") from cause
    try:
        table: Any = parquet.read_table(path)
    except Exception as cause:
        raise LabelError(f"{path} cannot be read as Parquet ({cause}).") from cause
    _check_header(path, table.column_names, columns)
    yield from table.select(list(columns)).to_pylist()


def _check_header(path: Path, header: list[str], columns: tuple[str, ...]) -> None:
    for name in columns:
        if header.count(name) != 1:
            what = f"not {name!r}" if name not in header else f"{name!r} twice"
            raise LabelError(
                f"{path} has the columns {', '.join(header) or 'none'}, {what}; expected {', '.join(columns)}."
            )
