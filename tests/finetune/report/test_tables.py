"""Tables and lines of a score record, cell by cell."""

from typing import Any

import pytest

from bandloom.finetune.report.tables import (
    class_table,
    confusion_lines,
    result_lines,
    score_table,
    split_line,
    title,
)
from bandloom.finetune.scores.class_scorer import ClassScorer
from bandloom.scores import ClassScores, ScoreRecord, ScoreRow

SCORER = ClassScorer()


def row(name: str, macro_f1: float, **more: Any) -> ScoreRow:
    scores = {"overall": 0.75, "macro_f1": macro_f1, "mean_iou": 0.5}
    return ScoreRow(name=name, kind="model", fitted_on=9000, scored_on=1200, blocks=9, scores=scores, **more)


def record(**more: Any) -> ScoreRecord:
    classes = (
        ClassScores(name="water", support=1000, scores={"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "iou": 0.2}),
        ClassScores(name="field", support=0, scores=dict.fromkeys(("precision", "recall", "f1", "iou"))),
    )
    rows = (row("model", 0.625, interval_95={"macro_f1": (0.55, 0.7)}, classes=classes), row("pixel_rf", 0.6))
    held = {
        "task": "segment",
        "sensor": "s",
        "label_set": {},
        "rows": rows,
        "split": {"kind": "given", "hash": "ab"},
        **more,
    }
    return ScoreRecord.model_validate(held)


def cells(table: Any) -> list[list[str]]:
    return [[str(cell) for cell in column.cells] for column in table.columns]


def test_every_row_has_its_scores_and_the_main_one_its_interval():
    table = score_table(record(), SCORER)
    assert table.title == "Test scores (1,200 labels in 9 blocks)"
    assert [str(column.header) for column in table.columns] == [
        "",
        title("overall"),
        title("macro_f1"),
        "95 %",
        title("mean_iou"),
    ]
    assert cells(table)[0] == ["model", "pixel_rf"]
    assert [float(cell) for cell in cells(table)[2]] == [0.625, 0.6]
    assert cells(table)[3] == ["0.55 to 0.70", ""]


def test_a_class_without_labels_has_no_score():
    table = cells(class_table(record(), SCORER))
    assert table[0] == ["water", "field"]
    assert [float(table[column][0]) for column in range(1, 5)] == pytest.approx([0.5, 0.25, 1 / 3, 0.2], abs=1e-3)
    assert [table[column][1] for column in range(1, 5)] == [""] * 4


def test_mistakes_are_counted_and_in_percent_of_the_class():
    pairs = [{"truth": "water", "taken_for": "field", "count": 1500 - n, "share": 0.034} for n in range(7)]
    lines = confusion_lines(record(top_confusions=pairs))
    assert len(lines) == 5
    assert lines[0] == "water taken for field: 1,500 (3 %)"


def test_calibration_and_fewer_bands_are_lines():
    calibration = {"temperature": 1.5, "before": {"error": 0.1234}, "after": {"error": 0.02}}
    bands = (row("model", 0.625), row("RGB", 0.5))
    assert result_lines(record(calibration=calibration, bands=bands), SCORER) == [
        "calibration error 0.123, at temperature 1.50 0.020",
        f"{title('macro_f1')} by bands, the others absent: all 0.625, RGB 0.500",
    ]
    assert result_lines(record(), SCORER) == []


def test_a_split_says_its_blocks_and_how_near_the_test_lies():
    assert split_line({"kind": "given", "hash": "ab"}) == "Split: given, hash `ab`."
    block = {"kind": "block", "hash": "ab", "block_m": 600, "buffer_m": 60}
    assert split_line(block) == "Split: block, blocks of 600 m, buffer 60 m, hash `ab`."
    near = block | {"distance": {"least_m": 1234.5, "median_m": 20000.0}}
    assert split_line(near).endswith(
        "; the nearest test label lies 1,234 m from a training label (median over test blocks 20,000 m)."
    )
