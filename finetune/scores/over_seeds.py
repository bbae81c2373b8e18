"""What a score is worth over seeds: mean, deviation, and every seed's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def add_seeds(record: dict[str, Any], others: Sequence[dict[str, Any]], seed: int, headlines: Sequence[str]) -> None:
    """Put into a record what its rows score over seeds, as ``seeds``; nothing where there is one seed alone.

    Args:
        record: as of ``metrics.json``; its rows are the run's own seed.
        others: the other seeds: ``{"name", "seed", score: value, ...}``.
        seed: the run's own.
        headlines: names of the scores.
    """
    if others:
        own = [
            {"name": row["name"], "seed": seed, **{name: row[name] for name in headlines}}
            for row in record["rows"]
            if row["name"] in {each["name"] for each in others}
        ]
        record["seeds"] = over_seeds([*own, *others])


def over_seeds(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and deviation of each row's scores.

    Args:
        records: one a row and seed: ``{"name", "seed", score: value, ...}``.

    Returns:
        One a row: ``{"name", "seeds", "mean", "deviation", "by_seed"}``, the last three by score; the deviation is that
        of a sample (n - 1), 0 for a single seed.
    """
    summary = []
    for name in dict.fromkeys(record["name"] for record in records):
        rows = [record for record in records if record["name"] == name]
        by_seed = {key: [row[key] for row in rows] for key in rows[0] if key not in ("name", "seed")}
        deviation = {k: float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for k, v in by_seed.items()}
        mean = {key: float(np.mean(values)) for key, values in by_seed.items()}
        summary.append(
            {
                "name": name,
                "seeds": [row["seed"] for row in rows],
                "mean": mean,
                "deviation": deviation,
                "by_seed": by_seed,
            }
        )
    return summary


def seed_lines(record: dict[str, Any]) -> list[str]:
    """Return a sentence for each row that was trained from several seeds."""
    lines = []
    for row in record.get("seeds", []):
        score = "macro_f1" if "macro_f1" in row["mean"] else next(iter(row["mean"]))
        each = ", ".join(f"{value:.3f}" for value in row["by_seed"][score])
        lines.append(
            f"{row['name']} over seeds {', '.join(map(str, row['seeds']))}: {score} {row['mean'][score]:.3f}"
            f" with a deviation of {row['deviation'][score]:.3f} ({each})"
        )
    return lines
