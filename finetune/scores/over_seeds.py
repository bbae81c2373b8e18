"""Scores over seeds: mean, deviation, and every seed's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bandloom.scores import ScoreRecord, SeedSummary, figure


@dataclass(frozen=True)
class SeedScores:
    """What one training from one seed scores."""

    name: str
    seed: int
    scores: Mapping[str, float]


def summary_of(
    record: ScoreRecord, others: Sequence[SeedScores], seed: int, headlines: Sequence[str]
) -> tuple[SeedSummary, ...]:
    """Return what a record's rows score over seeds; nothing where there is one seed alone.

    Args:
        record: its rows are the run's own seed.
        others: the other seeds.
        seed: the run's own.
        headlines: names of the scores.
    """
    named = {other.name for other in others}
    own = [
        SeedScores(row.name, seed, {name: row.scores[name] for name in headlines})
        for row in record.rows
        if row.name in named
    ]
    return over_seeds([*own, *others]) if others else ()


def over_seeds(by_seed: Sequence[SeedScores]) -> tuple[SeedSummary, ...]:
    """Return mean and deviation of each row's scores; the deviation is 0 for a single seed."""
    return tuple(
        _summary([row for row in by_seed if row.name == name]) for name in dict.fromkeys(e.name for e in by_seed)
    )


def _summary(rows: Sequence[SeedScores]) -> SeedSummary:
    by_seed = {key: tuple(row.scores[key] for row in rows) for key in rows[0].scores}
    return SeedSummary(
        name=rows[0].name,
        seeds=tuple(row.seed for row in rows),
        mean={key: float(np.mean(values)) for key, values in by_seed.items()},
        deviation={key: float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for key, v in by_seed.items()},
        by_seed=by_seed,
    )


def seed_lines(record: ScoreRecord, score: str) -> list[str]:
    """Return a sentence for each row that was trained from several seeds."""
    return [
        f"{row.name} over seeds {', '.join(map(str, row.seeds))}: {score} {figure(score, row.mean[score])}"
        f" with a deviation of {figure(score, row.deviation[score])}"
        f" ({', '.join(figure(score, value) for value in row.by_seed[score])})"
        for row in record.over_seeds
    ]
