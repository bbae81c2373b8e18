"""``bandloom report``: one self-contained page about what a stage left; of several folders, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bandloom.errors import MissingExtraError, RunFolderError
from bandloom.files.output import new_output
from bandloom.scores import TITLES
from bandloom.view.charts import line_chart
from bandloom.view.records import KINDS, Record, read_record
from bandloom.view.sections import facts_of, sections_of
from bandloom.view.sections.parts import Section, table

TEMPLATES = Path(__file__).parent / "templates"
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
    environment.filters["markup"] = Markup  # charts, whose text is escaped where they are drawn
    columns: list[dict[str, Any]] = [
        {
            "record": record,
            "kind": KINDS[record.kind],
            "facts": facts_of(record),
            "config": yaml.safe_dump(record.config, sort_keys=False) if record.config else "",
            "sections": sections_of(record),
        }
        for record in records
    ]
    return environment.get_template("report.html.j2").render(
        title=" and ".join(record.name for record in records),
        columns=columns,
        compared=compare(records),
        most=MOST_ROWS,
    )


def compare(records: Sequence[Record]) -> list[Section]:
    """Return what sets several records apart: their configs' differences and their curves in one chart."""
    if len(records) < 2:
        return []
    names = [f"{index + 1}: {record.name}" for index, record in enumerate(records)]
    flat = {name: _flat(record.config) for name, record in zip(names, records, strict=True) if record.config}
    known = {key for record in flat.values() for key in record}
    keys = sorted(key for key in known if len({str(record.get(key)) for record in flat.values()}) > 1)
    rows = [[key, *(record.get(key, "") for record in flat.values())] for key in keys]
    curves = {name: record.curve("train", "loss") for name, record in zip(names, records, strict=True)}
    chart = line_chart(curves, "loss", log=True)
    figure = [f"<figure><figcaption>Loss</figcaption>{chart}</figure>"] if chart else []
    first = {
        name: record.scores.rows[0] for name, record in zip(names, records, strict=True) if record.scores is not None
    }
    held = list(dict.fromkeys(score for row in first.values() for score in row.scores))
    scores = [[name, *(row.scores.get(score) for score in held)] for name, row in first.items()]
    sections = [
        Section("Where the configs differ", tables=table(["", *flat], rows)),
        Section("Scores", _ground(records), tables=table(["", *(TITLES.get(score, score) for score in held)], scores)),
        Section("Losses", charts=figure),
    ]
    return [section for section in sections if section.tables or section.charts]


def _ground(records: Sequence[Record]) -> str:
    """Say whether scores can be compared: whether the same ground tested them."""
    hashes = {record.scores.split.get("hash") for record in records if record.scores is not None}
    return "" if len(hashes) < 2 else "They were tested on different ground (their splits differ): compare no digits."


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, dict):
        return {prefix.removesuffix("."): config}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.")
    return flat


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
