"""Building blocks of a report: tables, charts and pictures under a title."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDE_PX = 900  # a picture from here on takes the page's width
MOST_COLUMNS = 7  # of a table that stands beside another part


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
    pixels: bool = False  # few large pixels, which stay sharp

    @property
    def form(self) -> str:
        """How the page sets it: sharp and wide, half of a row, or as it is."""
        return "pixels" if self.pixels else "half" if self.width_px < WIDE_PX else ""

    @property
    def width_px(self) -> int:
        """Its width, as the head of a PNG says it (bytes 16 to 19)."""
        return int.from_bytes(base64.b64decode(self.data[:32])[16:20], "big")


@dataclass(frozen=True)
class Fold:
    """Tables that are opened by a click on a line that says what they hold."""

    summary: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class Section:
    """One part of a report; whatever is empty is not shown.

    Args:
        title: of the part.
        note: what must be known to read it.
        verdict: what it comes to, in a sentence that stands out.
        tables: of it.
        charts: SVG.
        pictures: PNG, large.
        sheet: small pictures, many in a row.
        items: sentences, one below the other.
        folds: tables that few will open.
        folded: whether all of it waits for a click on its title.
    """

    title: str
    note: str = ""
    verdict: str = ""
    tables: Sequence[Table] = ()
    charts: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    sheet: Sequence[Picture] = ()
    items: Sequence[str] = ()
    folds: Sequence[Fold] = ()
    folded: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing under the title but a note."""
        shown = (self.verdict, self.tables, self.charts, self.pictures, self.sheet, self.items, self.folds)
        return not any(shown)

    @property
    def is_wide(self) -> bool:
        """Whether it takes the width of the page: several charts or pictures, a sheet, a table of many columns."""
        columns = max((len(table.head) for table in self.tables), default=0)
        large = len(self.charts) > 1 or len(self.pictures) > 1 or any(p.width_px >= WIDE_PX for p in self.pictures)
        return bool(self.sheet or self.verdict or large or columns > MOST_COLUMNS)


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


def picture(path: Path, note: str = "", anchor: str = "") -> Picture:
    """Return a PNG file as it goes into the page."""
    return Picture(path.stem, base64.b64encode(path.read_bytes()).decode(), note, anchor)


def plain(record: Mapping[str, Any]) -> list[list[Any]]:
    """Return the entries of a record that are text or numbers, as rows of two."""
    return [[name.replace("_", " "), value] for name, value in record.items() if isinstance(value, str | int | float)]
