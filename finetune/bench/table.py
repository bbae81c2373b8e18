"""The benchmark's table: every score with its interval, and how far an encoder is ahead of the best baseline."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.block_scores import margins
from bandloom.command_line.console import table
from bandloom.files.output import new_output
from bandloom.finetune.bench.rows import BenchRow
from bandloom.scores import TITLES
from bandloom.several_scores import bounds

HEADER = ("set", "features", "classifier", "score", "95 %", "ahead of the best baseline")
ENCODERS = ("model", "public encoder")
_SHARED = "dataset method metric_name metric_value ci_lower ci_upper feature_dim best_c n_train n_test"
CSV: tuple[str, ...] = (*_SHARED.split(), "name", "kind", "split", "blocks", "seeds", "seconds")  # theirs, then ours
METRIC_NAMES = {"overall": "accuracy", "map_micro": "micro_mAP", "mean_iou": "mIoU"}


def best_baseline(rows: Sequence[BenchRow], label_set: str) -> BenchRow | None:
    """Return the baseline with the highest score on a set, whatever its classifier."""
    baselines = [row for row in rows if row.label_set == label_set and row.row.kind not in ENCODERS]
    return max(baselines, key=lambda row: row.value, default=None)


def lines(rows: Sequence[BenchRow], draws: int) -> list[tuple[str, ...]]:
    """Return the table's lines, set by set in the order of ``rows``."""
    return [
        (
            row.label_set,
            row.source,
            row.method,
            f"{TITLES.get(row.score, row.score)} {row.value:.3f}{_spread(row)}",
            _interval(row.interval),
            _ahead(row, best_baseline(rows, row.label_set), draws),
        )
        for row in rows
    ]


def console_table(rows: Sequence[BenchRow], draws: int) -> Any:
    """Return the table for a terminal."""
    return table("Benchmark", HEADER, lines(rows, draws))


def write_tables(out: Path, rows: Sequence[BenchRow], remarks: Sequence[str], draws: int) -> None:
    """Write ``table.md`` and ``table.csv``.

    Args:
        out: the benchmark's folder.
        rows: what is scored by now.
        remarks: what is not, and why.
        draws: of blocks behind margins.
    """
    text = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    text += ["| " + " | ".join(line) + " |" for line in lines(rows, draws)]
    text += ["", *(f"- {remark}" for remark in remarks)]
    with new_output(out / "table.md", overwrite=True) as temporary:
        temporary.write_text("\n".join(text).rstrip() + "\n")
    with new_output(out / "table.csv", overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, CSV)
        writer.writeheader()
        writer.writerows(_csv(row) for row in rows)


def _csv(row: BenchRow) -> dict[str, Any]:
    low, high = row.interval or ("", "")
    return {
        "dataset": row.label_set,
        "method": row.method,
        "metric_name": METRIC_NAMES[row.score],
        "metric_value": row.value,
        "ci_lower": low,
        "ci_upper": high,
        "feature_dim": row.features or "",
        "best_c": row.told.get("best_c", ""),
        "n_train": row.row.fitted_on,
        "n_test": row.row.scored_on,
        "name": row.source,
        "kind": row.row.kind,
        "split": row.split,
        "blocks": row.row.blocks,
        "seeds": " ".join(map(str, row.row.seeds)),
        "seconds": row.row.seconds,
    }


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _spread(row: BenchRow) -> str:
    values = row.row.by_seed.get(row.score, ())
    return f" ({min(values):.3f} to {max(values):.3f} over {len(values)} seeds)" if len(values) > 1 else ""


def _ahead(row: BenchRow, baseline: BenchRow | None, draws: int) -> str:
    """Return the difference to a baseline and its paired interval; only encoders have one."""
    if baseline is None or row.row.kind not in ENCODERS:
        return ""
    low_high = _paired(row, baseline, draws)
    between = f" ({low_high[0]:+.3f} to {low_high[1]:+.3f})" if low_high else ""
    return f"{row.value - baseline.value:+.3f}{between}, {baseline.source}, {baseline.method}"


def _paired(row: BenchRow, baseline: BenchRow, draws: int) -> Sequence[float] | None:
    """Return the 95 % interval of the difference, the same blocks drawn for both; None where nothing was drawn."""
    if row.row.blocks < 2 or not draws:
        return None
    if row.drawn and len(row.drawn) == len(baseline.drawn):
        return bounds(np.subtract(row.drawn, baseline.drawn))
    return margins(row.confusions, baseline.confusions, draws).get(row.score)
