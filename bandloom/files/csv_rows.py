"""Rows of a CSV by the names in its first line, none of them cut or run into the next without a word."""

import csv
from collections.abc import Iterator
from typing import TextIO


def decimal(text: str) -> float:
    """Return the number that a cell holds.

    Raises:
        ValueError: it holds none, or one in Python's own spelling, in which 1_5 is fifteen.
    """
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return float(text)


class NamedRows:
    """A CSV's rows by the names in its first line.

    A cell with a comma that stands in no quotes, and a quote that is never closed, are refused: a plain reader drops
    what follows the comma, and takes all lines up to the next quote for one cell.

    Args:
        file: opened with ``newline=""``.

    Raises:
        csv.Error: the first line cannot be read.
    """

    def __init__(self, file: TextIO) -> None:
        self._reader = csv.DictReader(file, strict=True)
        self.names = list(self._reader.fieldnames or ())

    def require_once(self, *names: str) -> None:
        """Check that no column of these names is there twice, where the last would count without a word.

        Raises:
            csv.Error: one is.
        """
        for name in names:
            if self.names.count(name) > 1:
                raise csv.Error(f"it has the column {name!r} twice")

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the number of a row's last line and its cells, empty where they are missing.

        Raises:
            csv.Error: a row has more cells than the first line, or its quotes do not match.
        """
        for row in self._reader:
            further = row.pop(None, None)  # type: ignore[call-overload]
            if any(cell.strip() for cell in further or ()):
                raise csv.Error(
                    f"line {self._reader.line_num} has more cells than the first; put cells that hold commas into"
                    " quotes"
                )
            yield self._reader.line_num, {name: cell or "" for name, cell in row.items()}
