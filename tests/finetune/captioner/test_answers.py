import numpy as np
import pytest

from bandloom.finetune.captioner.answers import _a_token, _by_type, _Commonest, answer_table, other_images, same_answer
from bandloom.finetune.captioner.pairs import Exchange


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("Yes.", " yes", True), ("two  roads", "Two roads", True), ("2", "two", False), ("", ".", True)],
)
def test_case_spaces_and_a_full_stop_make_no_other_answer(one, other, same):
    assert same_answer(one, other) is same


def test_what_can_be_said_without_looking_is_the_questions_or_else_its_types_commonest_answer():
    blind = _Commonest(
        [
            Exchange("wet?", "no", "area"),
            Exchange("wet?", "no", "area"),
            Exchange("wet?", "yes", "area"),
            Exchange("rural?", "yes", "area"),
            Exchange("rural?", "yes", "area"),
        ]
    )
    assert blind.answer(Exchange("wet?", "", "area")) == "no"
    assert blind.answer(Exchange("new?", "", "area")) == "yes"
    assert blind.answer(Exchange("new?", "", "count")) == ""


def test_another_image_is_never_the_own_one():
    assert other_images([0, 1, 2, 3, 4]) == np.roll([0, 1, 2, 3, 4], 3).tolist()
    assert other_images([7, 7, 7, 7, 2]) == [2, 2, 2, 2, 7]  # most questions are about one image
    assert other_images([7, 7]) == other_images([]) == []


def test_a_tokens_loss_counts_every_token_alike_however_long_its_answer_is():
    assert _a_token([(2.0, 1), (8.0, 16)]) == pytest.approx(10 / 17)  # the mean of both answers' means is 1.25
    assert _a_token([]) == 0.0


def test_the_table_leaves_out_a_loss_that_no_other_image_gave():
    report = {"exchanges": 1, "loss": {"own_image": 1.5}, "questions": {}}
    assert [str(cell) for column in answer_table(report).columns for cell in column.cells][2:] == ["1.500", ""]


def test_accuracies_are_by_type_and_of_all():
    answered = [
        (Exchange("a", "yes", "area"), "Yes.", "no"),
        (Exchange("b", "no", "area"), "yes", "no"),
        (Exchange("c", "2", "count"), "2", "2"),
    ]
    assert _by_type(answered) == {
        "area": {"count": 2, "accuracy": 0.5, "commonest": 0.5},
        "count": {"count": 1, "accuracy": 1.0, "commonest": 1.0},
        "all": {"count": 3, "accuracy": pytest.approx(2 / 3), "commonest": pytest.approx(2 / 3)},
    }
    assert _by_type([]) == {}


def test_the_table_has_a_line_a_type_and_one_of_the_loss():
    report = {
        "exchanges": 4,
        "loss": {"own_image": 1.5, "other_image": 2.0},
        "questions": {"all": {"count": 3, "accuracy": 0.5, "commonest": 0.25}},
    }
    rows = [list(column.cells) for column in answer_table(report).columns]
    assert [str(cell) for cell in rows[0]] == ["questions: all", "loss of an answer's token"]
    assert [str(cell) for cell in rows[2]] == ["0.500", "1.500"]
    assert [str(cell) for cell in rows[3]] == ["0.250", "2.000"]
