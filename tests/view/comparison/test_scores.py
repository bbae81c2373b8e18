from pathlib import Path

import pytest

from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.paired import Difference, Pair
from bandloom.view.comparison.scores import better, classes, tables, verdict, verdicts
from tests.view.comparison.made_run import counts, make_run

NAMES = ("1: a", "2: b")


@pytest.mark.parametrize(
    ("scores", "begins", "holds"),
    [
        (
            {"macro_f1": Difference(0.7, 0.8, (0.05, 0.15)), "kappa": Difference(0.5, 0.5, (-0.1, 0.1))},
            "2: b is better than 1: a: macro-F1 0.800 against 0.700, +0.100 (95 % interval +0.050 to +0.150).",
            "2: b is not shown to differ on kappa.",
        ),
        (
            {"macro_f1": Difference(0.8, 0.7, (-0.15, -0.05)), "overall": Difference(0.6, 0.7, (0.01, 0.2))},
            "1: a is better than 2: b: macro-F1 0.800 against 0.700, +0.100 (95 % interval +0.050 to +0.150).",
            "1: a is worse on accuracy.",
        ),
        (
            {"macro_f1": Difference(0.7, 0.71, (-0.02, 0.04)), "overall": Difference(0.6, 0.7, (0.01, 0.2))},
            "Not shown to differ: 2: b beside 1: a, macro-F1 0.710 against 0.700, +0.010",
            "2: b is better on accuracy.",
        ),
        (  # of errors less is better
            {"rmse": Difference(3.0, 2.0, (-1.5, -0.5)), "r2": Difference(0.5, 0.8, (0.1, 0.5))},
            "2: b is better than 1: a: RMSE 2.000 against 3.000, -1.000 (95 % interval -1.500 to -0.500).",
            "2: b is better on R2.",
        ),
    ],
)
def test_the_verdict_names_who_is_ahead_on_what(scores, begins, holds):
    said = verdict(Pair(scores), NAMES)
    assert said.startswith(begins)
    assert said.endswith(holds)


def test_without_an_interval_nobody_is_better_without_a_word_on_chance():
    said = verdict(Pair({"macro_f1": Difference(0.7, 0.8)}, why="nothing was kept"), NAMES)
    assert said == "2: b scores better than 1: a: macro-F1 0.800 against 0.700, +0.100; nothing was kept."


@pytest.mark.parametrize(
    ("score", "gap", "interval", "side"),
    [
        ("overall", 0.1, (0.05, 0.2), 1),
        ("overall", -0.1, (-0.2, -0.05), -1),
        ("overall", 0.1, (-0.05, 0.2), 0),
        ("mae", 0.1, (0.05, 0.2), -1),
        ("mae", -0.1, None, 1),
        ("overall", 0.0, (0.0, 0.0), 0),
    ],
)
def test_better_is_by_the_interval_and_by_which_way_a_score_runs(score, gap, interval, side):
    assert better(score, Difference(1.0, 1.0 + gap, interval)) == side


def test_a_run_beside_itself_is_not_better(tmp_path: Path):
    runs = [make_run(tmp_path / name, counts(1)) for name in "ab"]
    [told], [by_class] = (make(Compared(runs, NAMES)) for make in (verdicts, classes))
    assert told.verdict.startswith("Not shown to differ: 2: b beside 1: a, macro-F1")
    assert "+0.000 (95 % interval +0.000 to +0.000), which holds zero." in told.verdict
    assert [row[0] for row in by_class.tables[0].rows] == ["water", "forest", "field"]
    assert {row[4] for row in by_class.tables[0].rows} == {"+0.000"}


def test_every_further_run_stands_beside_the_first(tmp_path: Path):
    runs = [make_run(tmp_path / name, counts(i)) for i, name in enumerate("abc")]
    pairs = ["2: b beside 1: a", "3: c beside 1: a"]
    for make, begins in ((verdicts, ""), (tables, "Scores: "), (classes, "Class by class: ")):
        made = make(Compared(runs, ("1: a", "2: b", "3: c")))
        assert [section.title for section in made] == [begins + pair for pair in pairs]


def test_scores_stand_beside_each_other_with_their_difference(tmp_path: Path):
    runs = [
        make_run(tmp_path / name, counts(i, right=right)) for i, (name, right) in enumerate((("a", 0.6), ("b", 0.9)))
    ]
    [section] = tables(Compared(runs, NAMES))
    scores = [run.scores.rows[0].scores for run in runs]  # type: ignore[union-attr]
    for row, name in zip(section.tables[0].rows, ("macro_f1", "overall"), strict=False):
        assert list(row[1:3]) == pytest.approx([held[name] for held in scores])
        assert row[3] == f"{scores[1][name] - scores[0][name]:+.3f}"
    assert section.note.startswith("On the 720 labels in 12 blocks of ground that tested both.")
