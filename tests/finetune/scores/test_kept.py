"""Scores that are kept: the look at what a run started from stays through every change on the way."""

import numpy as np

from bandloom.finetune.scores.class_scorer import fell_behind
from bandloom.finetune.scores.confusion import ConfusionRow
from bandloom.finetune.scores.kept import first_look
from bandloom.run_state.pieces import Pieces, kept_in


def row(right: int) -> ConfusionRow:
    """Return the row of a model that has ``right`` of ten labels of each class right, in each of twelve blocks."""
    counts = np.array([[right, 10 - right], [10 - right, right]])
    return ConfusionRow(name="model", confusions=dict.fromkeys(range(12), counts))


def test_the_first_look_stays_whatever_changes_on_the_way(tmp_path):
    with kept_in(Pieces(tmp_path / "pieces", {"lr": 1e-3})):
        first_look(tmp_path, 0, [0, {"shards": 1}], row(9))
    with kept_in(Pieces(tmp_path / "pieces", {"lr": 1e-4})):  # another rate, or more steps after the end
        first = first_look(tmp_path, 40, [0, {"shards": 1}], row(3))
    np.testing.assert_array_equal(first.confusion, row(9).confusion)
    assert fell_behind(row(4), first)  # which no step after a collapse at 40 would have been, of that look
    assert not fell_behind(row(4), row(3))


def test_a_run_that_starts_anew_or_on_other_ground_is_looked_at_anew(tmp_path):
    first_look(tmp_path, 0, [0, {"shards": 1}], row(9))
    np.testing.assert_array_equal(first_look(tmp_path, 40, [0, {"shards": 2}], row(5)).confusion, row(5).confusion)
    np.testing.assert_array_equal(first_look(tmp_path, 0, [0, {"shards": 1}], row(6)).confusion, row(6).confusion)
    np.testing.assert_array_equal(first_look(tmp_path, 40, [0, {"shards": 1}], row(2)).confusion, row(6).confusion)


def test_a_look_that_cannot_be_read_is_taken_again(tmp_path):
    first_look(tmp_path, 0, [0], row(9))
    (kept,) = (tmp_path / "first_look").iterdir()
    kept.write_bytes(kept.read_bytes()[:40])
    np.testing.assert_array_equal(first_look(tmp_path, 40, [0], row(5)).confusion, row(5).confusion)
