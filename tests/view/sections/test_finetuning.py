"""The score table of a report: what the model is ahead by stands in every baseline's line, with its paired interval."""

from bandloom.view.sections.finetuning import scores
from tests.view.sections.test_worth import MODEL, record, row

TITLE = "macro-F1, first row less this one"


def test_every_baseline_has_the_difference_to_the_model_and_its_interval():
    shown = scores(record(MODEL, row("pixel_rf", "classic", 0.7, (0.05, 0.15)), row("majority", "trivial", 0.1)))
    (held,) = shown.tables
    assert held.head[-1] == TITLE
    assert [line[-1] for line in held.rows] == ["", "+0.100 (+0.050 to +0.150)", ""]


def test_without_paired_intervals_there_is_no_such_column():
    (held,) = scores(record(MODEL, row("majority", "trivial", 0.1))).tables
    assert TITLE not in held.head
