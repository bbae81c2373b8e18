"""Score tables for a person: tables and lines on the console, and the model card."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from bandloom.command_line.console import table
from bandloom.finetune.model.checkpoint import short_card
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.over_seeds import seed_lines
from bandloom.finetune.scores.scorer import Scorer
from bandloom.scores import IN_UNIT, TITLES, ScoreRecord, ScoreRow, figure


def title(score: str) -> str:
    """Return what people call a score."""
    return TITLES.get(score, score)


def score_table(record: ScoreRecord, scorer: Scorer) -> Table:
    """Return the console's table: every row's scores, the model's first, the main one with its interval."""
    header, rows = [""], []
    for name in scorer.table:
        header += [title(name), "95 %"] if name == scorer.main else [title(name)]
    for row in record.rows:
        cells: list[Any] = [row.name]
        for name in scorer.table:
            score = figure(name, row.scores[name]) if name in IN_UNIT else row.scores[name]
            cells += [score, _bounds(row, name, 2)] if name == scorer.main else [score]
        rows.append(cells)
    held = record.rows[0]
    unit = f", {record.target.title}" if record.target is not None else ""
    return table(f"Test scores ({held.scored_on:,} labels in {held.blocks:,} blocks{unit})", header, rows)


def class_table(record: ScoreRecord, scorer: Scorer) -> Table:
    """Return the first row's scores class by class."""
    rows = [
        [
            land_class.name,
            *("" if land_class.scores[key] is None else land_class.scores[key] for key in scorer.class_table),
            land_class.support,
        ]
        for land_class in record.rows[0].classes
    ]
    return table("Class by class", ["class", *map(title, scorer.class_table), "labels"], rows)


def result_lines(record: ScoreRecord, scorer: Scorer) -> list[str]:
    """Return what is said below the tables: mistakes, calibration, fewer bands, seeds and the split."""
    lines = confusion_lines(record)
    if record.calibration is not None:
        calibration = record.calibration
        lines.append(
            f"calibration error {calibration['before']['error']:.3f}, at temperature {calibration['temperature']:.2f}"
            f" {calibration['after']['error']:.3f}"
        )
    if record.bands:
        named = ["all", *(row.name for row in record.bands[1:])]
        shown = [
            f"{name} {figure(scorer.main, row.scores[scorer.main])}"
            for name, row in zip(named, record.bands, strict=True)
        ]
        lines.append(f"{title(scorer.main)} by bands, the others absent: {', '.join(shown)}")
    return [*lines, *seed_lines(record, scorer.main)]


def confusion_lines(record: ScoreRecord, most: int = 5) -> list[str]:
    """Return the commonest mistakes as text: "AnnualCrop taken for PermanentCrop: 15 (3 %)"."""
    return [
        f"{pair['truth']} taken for {pair['taken_for']}: {pair['count']:,} ({100 * pair['share']:.0f} %)"
        for pair in record.top_confusions[:most]
    ]


def split_line(split: dict[str, Any]) -> str:
    """Return one sentence on the split: kind, blocks, hash, and how near the test lies to the training ground."""
    blocks = f", blocks of {split['block_m']} m, buffer {split['buffer_m']} m" if "block_m" in split else ""
    distance = split.get("distance")
    near = (
        (
            f"; the nearest test label lies {distance['least_m']:,.0f} m from a training label (median over test blocks"
            f" {distance['median_m']:,.0f} m)"
        )
        if distance
        else ""
    )
    return f"Split: {split['kind']}{blocks}, hash `{split['hash']}`{near}."


def model_card(model: TaskModel, record: ScoreRecord, scorer: Scorer, provenance: dict[str, Any]) -> str:
    """Return the model card: what it is, what it was tested on, its scores beside its baselines, what it is not for."""
    first = record.rows[0]
    lines = [
        short_card(model).rstrip(),
        "",
        "## Scores on held-out ground",
        "",
        f"{split_line(record.split)} {first.scored_on:,} test labels.{_unit(record)}",
        "",
        *_markdown(
            ["", "kind", *(title(name) + " (95 %)" * (name == scorer.main) for name in scorer.headlines)],
            [
                [row.name, row.kind, *(_cell(row, name, scorer.main) for name in scorer.headlines)]
                for row in record.rows
            ],
        ),
        "",
        "Rows below the first are its baselines, on the same split.",
        *_thresholds(model),
        "",
        *_listed(seed_lines(record, scorer.main)),
        *_classes(record, scorer),
        *_mistakes(record),
        *_calibration(record),
        "## Limits",
        "",
        "The scores hold for ground like the training ground, this sensor and this processing level; a class without"
        " test labels has no score.",
        "",
        "## Provenance",
        "",
        *(f"- {key}: {value}" for key, value in provenance.items() if not isinstance(value, dict)),
    ]
    return "\n".join(lines) + "\n"


def _unit(record: ScoreRecord) -> str:
    unit = record.target.unit if record.target is not None else ""
    return f" RMSE, MAE and bias are in {unit}." if unit else ""


def _thresholds(model: TaskModel) -> list[str]:
    if not model.thresholds:
        return []
    return ["A class is there when its probability reaches its threshold in `config.json`, tuned on validation chips."]


def _classes(record: ScoreRecord, scorer: Scorer) -> list[str]:
    classes = record.rows[0].classes
    if not classes:
        return []
    head = ["class", *map(title, scorer.class_table), "test labels"]
    rows = [
        [land_class.name, *(_number(land_class.scores[key]) for key in scorer.class_table), f"{land_class.support:,}"]
        for land_class in classes
    ]
    return [*_markdown(head, rows), ""]


def _mistakes(record: ScoreRecord) -> list[str]:
    lines = confusion_lines(record)
    return ["Commonest mistakes:", "", *_listed(lines)] if lines else []


def _calibration(record: ScoreRecord) -> list[str]:
    if record.calibration is None:
        return []
    calibration = record.calibration
    return [
        f"Expected calibration error {calibration['before']['error']:.3f}, with logits divided by the temperature"
        f" {calibration['temperature']:.2f} (fitted on validation, in `config.json`)"
        f" {calibration['after']['error']:.3f}.",
        "",
    ]


def _listed(lines: Sequence[str]) -> list[str]:
    return [*(f"- {line}" for line in lines), ""] if lines else []


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def _cell(row: ScoreRow, name: str, main: str) -> str:
    bounds = _bounds(row, name, 3) if name == main else ""
    return figure(name, row.scores[name]) + (f" ({bounds})" if bounds else "")


def _bounds(row: ScoreRow, name: str, digits: int) -> str:
    interval = row.interval_95.get(name)
    return " to ".join(figure(name, bound, digits) for bound in interval) if interval else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
