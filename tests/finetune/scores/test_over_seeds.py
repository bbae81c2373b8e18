import statistics

import pytest

from bandloom.finetune.scores.over_seeds import SeedScores, over_seeds, seed_lines, summary_of
from bandloom.scores import ScoreRecord

VALUES = (0.5, 0.7, 0.9)


def record(**changes) -> ScoreRecord:
    row = {"blocks": 1, "fitted_on": 1, "scored_on": 1}
    rows = [
        {"name": "model", "kind": "model", "scores": {"macro_f1": 0.5, "overall": 0.6}, **row},
        {"name": "majority", "kind": "trivial", "scores": {"macro_f1": 0.1, "overall": 0.2}, **row},
    ]
    held = {"task": "segment", "sensor": "s", "label_set": {}, "split": {}, "rows": rows}
    return ScoreRecord.model_validate(held | changes)


def test_mean_and_deviation_are_those_of_a_sample():
    (found,) = over_seeds([SeedScores("model", seed, {"macro_f1": value}) for seed, value in enumerate(VALUES)])
    assert (found.name, found.seeds, found.by_seed["macro_f1"]) == ("model", (0, 1, 2), VALUES)
    assert found.mean["macro_f1"] == pytest.approx(statistics.mean(VALUES))
    assert found.deviation["macro_f1"] == pytest.approx(statistics.stdev(VALUES))


def test_a_single_seed_deviates_by_nothing_and_rows_keep_their_order():
    found = over_seeds([SeedScores("b", 0, {"f": 0.5}), SeedScores("a", 0, {"f": 0.1}), SeedScores("b", 1, {"f": 0.7})])
    assert [each.name for each in found] == ["b", "a"]
    assert found[1].deviation == {"f": 0.0}


def test_the_runs_own_seed_comes_first_and_rows_of_one_seed_are_left_out():
    others = [SeedScores("model", seed, {"macro_f1": value}) for seed, value in ((8, 0.7), (9, 0.9))]
    (found,) = summary_of(record(), others, 7, ("macro_f1",))
    assert (found.seeds, found.by_seed) == ((7, 8, 9), {"macro_f1": VALUES})


def test_one_seed_alone_has_no_summary():
    assert summary_of(record(), [], 7, ("macro_f1",)) == ()


def test_a_sentence_names_every_seed_and_its_score():
    summary = over_seeds([SeedScores("model", seed, {"macro_f1": value}) for seed, value in enumerate(VALUES)])
    held = record().model_copy(update={"over_seeds": summary})
    assert seed_lines(held, "macro_f1") == [
        "model over seeds 0, 1, 2: macro_f1 0.700 with a deviation of 0.200 (0.500, 0.700, 0.900)"
    ]
    assert seed_lines(record(), "macro_f1") == []
