"""Building blocks of a report: tables, charts and pictures under a title."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    strong: int | None = None  # the row that matters


@dataclass(frozen=True)
class Picture:
    """A PNG inside the page."""

    name: str
    data: str  # base64
    note: str = ""
    anchor: str = ""  # where a link of the page leads

    @property
    def width_px(self) -> int:
        """Its width, as the head of a PNG says it (bytes 16 to 19)."""
        return int.from_bytes(base64.b64decode(self.data[:32])[16:20], "big")


@dataclass(frozen=True)
class Section:
    """One part of a report; whatever is empty is not shown."""

    title: str
    note: str = ""
    tables: Sequence[Table] = ()
    charts: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    sheet: Sequence[Picture] = ()  # small ones, many in a row
    items: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing under the title."""
        return not any((self.tables, self.charts, self.pictures, self.sheet, self.items))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], strong: int | None = None) -> list[Table]:
    """Return one table, or none where there are no rows."""
    return [Table(head, rows, strong)] if rows else []


def titled(charts: Sequence[str], titles: Sequence[str]) -> list[str]:
    """Return the charts that there are, each under its title."""
    return [
        f"<figure><figcaption>{title}</figcaption>{chart}</figure>"
        for chart, title in zip(charts, titles, strict=True)
        if chart
    ]


def picture(path: Path, **more: str) -> Picture:
    """Return a PNG file as it goes into the page."""
    return Picture(path.stem, base64.b64encode(path.read_bytes()).decode(), **more)


def plain(record: Mapping[str, Any]) -> list[list[Any]]:
    """Return the entries of a record that are text or numbers, as rows of two."""
    return [[name.replace("_", " "), value] for name, value in record.items() if isinstance(value, str | int | float)]
