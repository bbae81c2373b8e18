import csv
import json

import numpy as np
import pytest

from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, BlockSplit
from bandloom.finetune.report.record import metrics_record, split_hash, write_evidence, write_report
from bandloom.finetune.report.tables import class_table, confusion_lines, model_card, score_table
from bandloom.finetune.scores.class_scorer import ClassScorer
from bandloom.finetune.scores.confusion import ConfusionRow
from bandloom.finetune.scores.evaluation import evaluate
from bandloom.scores import read_scores
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2, task_model

SCORER = ClassScorer()


@pytest.fixture(name="record")
def a_record():
    data = PixelData(FakeShards(2), BlockSplit(300, 60), S2)
    rng = np.random.default_rng(0)
    rows = [
        ConfusionRow(
            name=name,
            kind=kind,
            seeds=(7,),
            confusions={b: rng.integers(0, 9, (3, 3)) + good * np.eye(3, dtype=int) for b in range(12)},
            fitted_on=10,
            seconds=0.5,
        )
        for name, kind, good in (("fine-tuned", "model", 60), ("majority", "trivial", 0))
    ]
    return metrics_record(rows, data, SCORER, 200, mode="full")


def test_the_report_is_plain_json_and_its_files_agree(tmp_path, record):
    write_report(tmp_path, record)
    held = json.loads((tmp_path / "metrics.json").read_text())
    assert held["schema_version"] == 2
    assert read_scores(tmp_path / "metrics.json") == record
    with (tmp_path / "confusion.csv").open() as file:
        table = list(csv.reader(file))
    assert table[0][1:] == ["water", "forest", "field"]
    assert [[int(v) for v in row[1:]] for row in table[1:]] == held["confusion"]
    assert (tmp_path / "pictures" / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "confusion.csv", "pictures"}


def test_every_row_has_its_scores_and_an_interval_that_holds_them(record):
    for row in record.rows:
        for name, (low, high) in row.interval_95.items():
            assert low <= row.scores[name] <= high
    assert record.rows[0].scores["macro_f1"] > record.rows[1].scores["macro_f1"]
    assert record.split["kind"] == "block"
    assert sum(sum(row) for row in record.confusion) == record.rows[0].scored_on


def test_another_split_has_another_hash(record):
    assert split_hash(record.split) != split_hash(record.split | {"seed": 1})


def test_tables_and_card_name_the_baselines_and_every_class(record):
    assert score_table(record, SCORER).row_count == 2
    assert class_table(record, SCORER).row_count == 3
    card = model_card(task_model(), record, SCORER, {"seed": 0, "config": {}})
    for text in ("majority", "water", "blocks of 300 m", "- seed: 0", "## Limits"):
        assert text in card
    assert "{" not in card.split("## Provenance")[1]


def test_the_record_measures_the_split_and_the_margin_over_each_baseline(record):
    assert record.split["distance"]["least_m"] >= 60
    low, high = record.rows[1].margin_95["macro_f1"]
    assert 0 < low <= record.rows[0].scores["macro_f1"] - record.rows[1].scores["macro_f1"] <= high
    assert record.rows[0].margin_95 == {}


def test_mistakes_read_as_sentences(record):
    mistake = {"truth": "AnnualCrop", "taken_for": "PermanentCrop", "count": 15, "share": 0.034}
    record = record.model_copy(update={"top_confusions": (mistake,)})
    assert confusion_lines(record) == ["AnnualCrop taken for PermanentCrop: 15 (3 %)"]
    assert "- AnnualCrop taken for PermanentCrop: 15 (3 %)" in model_card(task_model(), record, SCORER, {})


def test_calibration_worst_examples_and_predictions_lie_beside_the_scores(tmp_path, record):
    data, model = PixelData(FakeShards(2), BlockSplit(300, 60), S2), task_model()
    found = evaluate("m", model, data, TEST, temperature=2.0)
    record = record.model_copy(update={"calibration": found.calibration()})
    write_report(tmp_path, record)
    write_evidence(tmp_path, found, data, [{"kind": "train", "step": 1, "loss": 1.0}])
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "confusion.png",
        "reliability.png",
        "worst.png",
        "curves.png",
    }
    assert list(tmp_path.glob("predictions.*"))
    assert "temperature 2.00" in model_card(model, record, SCORER, {})
