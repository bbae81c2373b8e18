"""The benchmark's table: an encoder's difference to the best baseline, and its paired interval."""

import numpy as np
import pytest

from bandloom.finetune.bench.rows import BenchRow, Seen, over_seeds
from bandloom.finetune.bench.table import lines
from bandloom.scores import ScoreRow
from bandloom.several_scores import Several, drawn_averages, headline, margins

DRAWS = 40


def several(noise: float, seed: int = 0) -> Several:
    truth = (np.random.default_rng(5).random((120, 3)) < 0.3).astype(np.uint8)
    score = 0.5 * truth + np.random.default_rng(seed).random((120, 3)) * noise
    return Several(truth, score, score >= 0.5, np.arange(120) % 8)


def seen(kind: str, chips: Several, seed: int = 0) -> Seen:
    row = ScoreRow(name=kind, kind=kind, seeds=(seed,), scores=headline(chips), blocks=8, fitted_on=9, scored_on=120)
    return Seen(row, {}, {}, tuple(drawn_averages(chips, DRAWS)["map_micro"].tolist()))


def bench_row(source: str, held: Seen) -> BenchRow:
    return BenchRow(
        made_of="",
        label_set="chips",
        split="block",
        source=source,
        method="knn5",
        score="map_micro",
        row=held.row,
        drawn=held.drawn,
    )


def test_chips_of_several_classes_have_the_paired_interval_of_their_scores():
    ours, theirs = several(0.8), several(1.2, seed=1)
    rows = [bench_row("encoder", seen("model", ours)), bench_row("statistics", seen("classic", theirs))]
    low, high = margins(ours, theirs, DRAWS)["map_micro"]
    gap = headline(ours)["map_micro"] - headline(theirs)["map_micro"]
    said = [line[-1] for line in lines(rows, DRAWS)]
    assert said == [f"{gap:+.3f} ({low:+.3f} to {high:+.3f}), statistics, knn5", ""]


def test_of_several_seeds_the_means_of_each_draw_are_compared():
    parts = [seen("model", several(0.8, seed), seed) for seed in (0, 1)]
    assert over_seeds(parts).drawn == pytest.approx((np.array(parts[0].drawn) + parts[1].drawn) / 2)


def test_rows_without_draws_have_the_difference_alone():
    bare = [Seen(seen(kind, several(noise)).row, {}, {}) for kind, noise in (("model", 0.8), ("classic", 1.2))]
    said = lines([bench_row(name, part) for name, part in zip(("a", "b"), bare, strict=True)], DRAWS)[0][-1]
    assert said.endswith(", b, knn5")
    assert "to" not in said
