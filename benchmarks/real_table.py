"""The tables of docs/results.md from the records of real_scenes: one line a set and contender, over seeds."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

HEAD = (
    "| set (seeds) | | accuracy | macro-F1 (95 %) | by seed | mean IoU | water IoU | ahead (95 %, by seed) |",
    "|---|---|---|---|---|---|---|---|",
)
BANDS_HEAD = (
    "| set (seeds) | bands | accuracy | macro-F1 | by seed | mean IoU | water IoU |",
    "|---|---|---|---|---|---|---|",
)
Row = dict[str, Any]


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return Markdown: every contender of every set, bands kept and dropped, and what it cost.

    Args:
        records: of :func:`benchmarks.real_scenes.gather`, one a set and seed.
    """
    lines = [*HEAD]
    names = list(dict.fromkeys(record["set"] for record in records))
    for name in names:
        own = [record for record in records if record["set"] == name]
        lines += [_line(name, rows) for rows in _by_row(own, "rows")]
    lines += ["", *BANDS_HEAD]
    for name in names:
        own = [record for record in records if record["set"] == name and record["bands"]]
        whole = [_first(record) for record in own]
        lines += [_band_line(name, rows) for rows in ([whole] if whole else []) + list(_by_row(own, "bands"))]
    lines += [
        "",
        "`of all`: trained with every band, the others absent at the test; `alone`: trained with these alone; `dropped"
        " in training`: half of the training chips kept the bands of another sensor alone.",
        "",
    ]
    lines += [_cost(record) for record in records]
    return "\n".join(lines) + "\n"


def _first(record: dict[str, Any]) -> Row:
    return record["rows"][0] | {"name": "all"}


def _by_row(records: Sequence[dict[str, Any]], key: str) -> Iterable[list[Row]]:
    """Yield a contender's rows over seeds, contenders in the order they were first met."""
    names = dict.fromkeys(row["name"] for record in records for row in record[key])
    for name in names:
        yield [row for record in records for row in record[key] if row["name"] == name]


def _line(name: str, rows: list[Row]) -> str:
    bounds = [row["interval_95"]["macro_f1"] for row in rows if row.get("interval_95")]
    interval = f" ({np.mean([b[0] for b in bounds]):.3f} to {np.mean([b[1] for b in bounds]):.3f})" if bounds else ""
    ahead = ", ".join(
        f"{low:+.3f} to {high:+.3f}"
        for low, high in (row["margin_95"]["macro_f1"] for row in rows if row.get("margin_95"))
    )
    return (
        f"| {name} ({len(rows)}) | {rows[0]['name']} | {_mean(rows, 'overall')} |"
        f" {_mean(rows, 'macro_f1')}{interval} | {_seeds(rows)} | {_mean(rows, 'mean_iou')} | {_water(rows)} |"
        f" {ahead or '-'} |"
    )


def _band_line(name: str, rows: list[Row]) -> str:
    return (
        f"| {name} ({len(rows)}) | {rows[0]['name']} | {_mean(rows, 'overall')} | {_mean(rows, 'macro_f1')} |"
        f" {_seeds(rows)} | {_mean(rows, 'mean_iou')} | {_water(rows)} |"
    )


def _mean(rows: list[Row], key: str) -> str:
    return f"{np.mean([row[key] for row in rows]):.3f}"


def _seeds(rows: list[Row]) -> str:
    return ", ".join(f"{row['macro_f1']:.3f}" for row in rows)


def _water(rows: list[Row]) -> str:
    found = [
        land_class["iou"] for row in rows for land_class in row["classes"] if land_class["name"] in ("water", "changed")
    ]
    known = [score for score in found if score is not None]
    return f"{np.mean(known):.3f} ({', '.join(f'{value:.3f}' for value in known)})" if known else "-"


def _cost(record: dict[str, Any]) -> str:
    parts = ", ".join(f"{part} {found['seconds']} s" for part, found in record["parts"].items())
    seen = {found["split"] for found in record["parts"].values()}
    commits = {found["commit"] for found in record["parts"].values()}
    return f"- {record['set']}, seed {record['seed']}: {parts}; split {', '.join(seen)}; commit {', '.join(commits)}"
