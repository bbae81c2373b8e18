"""The verdict follows the interval of the margin over the strongest baseline, whichever side of zero it lies on."""

from pathlib import Path

import pytest

from bandloom.scores import ScoreRecord, ScoreRow
from bandloom.view.records import Record
from bandloom.view.sections import sections_of
from bandloom.view.sections.worth import worth


def row(name, kind, macro_f1, margin=None):
    margins = {"macro_f1": margin, "overall": (-1.0, -0.9)} if margin else {}
    scores = {"overall": 0.5, "macro_f1": macro_f1}
    return ScoreRow(name=name, kind=kind, scores=scores, margin_95=margins, blocks=9, fitted_on=90, scored_on=90)


def record(*rows):
    scores = ScoreRecord(task="segment", sensor="sentinel2-l1c", label_set={"classes": []}, split={}, rows=rows)
    return Record(path=Path("run"), kind="finetune", scores=scores)


FIGURES = "its strongest baseline, pixel rf: macro-F1 0.800 against 0.700, +0.100"
MODEL = row("fine-tuned", "model", 0.8)


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        ((0.05, 0.15), f"Better than {FIGURES} (95 % interval +0.050 to +0.150)."),
        ((-0.01, 0.15), f"Not shown to differ from {FIGURES} (95 % interval -0.010 to +0.150), which holds zero."),
        (None, f"Beside {FIGURES}; no interval was drawn, so chance is not ruled out."),
    ],
)
def test_the_sentence_is_of_the_strongest_baseline_and_its_interval(margin, said):
    shown = record(MODEL, row("majority", "trivial", 0.1, (0.6, 0.8)), row("pixel_rf", "classic", 0.7, margin))
    assert worth(shown).verdict == said
    assert sections_of(shown)[0].title == "What this run is worth"


def test_a_run_that_loses_says_so():
    said = worth(record(row("fine-tuned", "model", 0.6), row("random_conv", "classic", 0.7, (-0.2, -0.05)))).verdict
    assert said.startswith("Worse than its strongest baseline, random conv: macro-F1 0.600 against 0.700, -0.100")
    assert said.endswith("use that instead.")


def test_runs_without_a_model_or_a_baseline_say_nothing():
    assert worth(record(row("pixel_rf", "classic", 0.7), row("majority", "trivial", 0.1))).is_empty
    assert worth(record(MODEL)).is_empty
    assert worth(record(MODEL, row("10m", "fewer bands", 0.9))).is_empty
