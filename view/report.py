"""``bandloom report``: one self-contained page about what a stage left; of several folders, side by side."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from bandloom.errors import MissingExtraError, RunFolderError
from bandloom.files.output import new_output
from bandloom.view import comparison
from bandloom.view.records import KINDS, Record, read_record
from bandloom.view.sections import commands_of, facts_of, sections_of
from bandloom.view.sections.parts import Section

TEMPLATES = Path(__file__).parent / "templates"
PAGE = Path(__file__).parent / "page"
MOST_ROWS = 200  # of one table


def write_report(paths: Sequence[Path], out: Path, thumbnails: Path | None = None) -> Path:
    """Write the report of one folder, or of several beside each other.

    Args:
        paths: run folders, folders of shards, bundles or maps.
        out: the page, a new ``.html`` file.
        thumbnails: a folder of ``NUMBER.png``, pictures of samples of a shard folder.

    Raises:
        BandloomError: a folder is none of these, or the page exists.
    """
    records = [read_record(path, thumbnails) for path in paths]
    try:
        page = render(records)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as cause:
        named = " or ".join(str(path) for path in paths)
        raise RunFolderError(
            f"{named} was written by another version of bandloom, or was edited ({cause!r}); run its stage again."
        ) from cause
    with new_output(out) as temporary:
        temporary.write_text(page)
    return out


def render(records: Sequence[Record]) -> str:
    """Return the page of one record or of several."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError as cause:
        raise MissingExtraError("jinja2", "view") from cause
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.filters["kind_of_cell"] = kind_of_cell
    environment.filters["markup"] = Markup  # charts, whose text is escaped where they are drawn, and our own style
    return environment.get_template("report.html.j2").render(
        title=" and ".join(record.name for record in records),
        style="".join((PAGE / name).read_text() for name in ("design.css", "report.css")),
        columns=[_column(record) for record in records],
        compared=laid_out(comparison.sections_of(records)) if len(records) > 1 else [],
        most=MOST_ROWS,
    )


def _column(record: Record) -> dict[str, Any]:
    """Return what the template shows of one record: the verdict apart, which stands at the top of its own page."""
    sections = sections_of(record)
    first = sections[0] if sections and sections[0].verdict else None
    return {
        "record": record,
        "kind": KINDS[record.kind],
        "commands": commands_of(record),
        "facts": facts_of(record),
        "config": yaml.safe_dump(record.config, sort_keys=False) if record.config else "",
        "first": first,
        "sections": laid_out(sections[first is not None :]),
    }


def laid_out(sections: Sequence[Section]) -> list[tuple[bool, list[Section]]]:
    """Return sections in runs: those that take the page's width, and those between them, which share it."""
    runs = [(wide, list(members)) for wide, members in groupby(sections, key=lambda section: section.is_wide)]
    return [(wide or len(members) == 1, members) for wide, members in runs]


def cell(value: Any) -> str:
    """Return a table's cell as text: three digits after the point, from 10 on one, thousands set apart, None empty."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 10:
        return f"{value:,.1f}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"


def kind_of_cell(value: Any) -> str:
    """Return how a table's cell is set: text to the left, figures written as text to the right as numbers are."""
    if not isinstance(value, str):
        return ""
    return "figure" if any(map(str.isdigit, value)) and not value.strip("+-0123456789.,% to±") else "text"
