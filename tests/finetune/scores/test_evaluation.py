import csv

import numpy as np
import pytest
from sklearn import metrics as oracle

from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, BlockSplit
from bandloom.finetune.report.prediction_table import write_table
from bandloom.finetune.scores.calibration import softmax
from bandloom.finetune.scores.evaluation import SAMPLED_LABELS, WORST, evaluate
from bandloom.finetune.scores.scoring import predict_role, score_model
from bandloom.finetune.tasks.registry import get_task
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2, task_model


def task_data(task: str) -> TaskData:
    shards = FakeShards(40, 12, chips=True) if task == "classify" else FakeShards(3)
    return get_task(task).data(shards, BlockSplit(120 if task == "classify" else 300, 0), S2)


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_one_pass_counts_what_scoring_counts(task):
    data, model = task_data(task), task_model(task, chip_px=12 if task == "classify" else 24)
    found, row = evaluate("m", model, data, TEST), score_model("m", model, data, TEST)
    assert found.row.confusion.tolist() == row.confusion.tolist()
    assert found.before.counts.sum() == found.row.scored_on == row.scored_on
    assert len(found.labels) <= SAMPLED_LABELS
    assert found.logits.shape == (len(found.labels), 3)
    right = sum(row["correct"] if task == "segment" else int(row["correct"]) for row in found.table)
    assert right == np.trace(row.confusion) == found.before.hits.sum()


def test_the_worst_examples_come_first_and_their_loss_is_scikit_learns():
    data, model = task_data("classify"), task_model("classify", chip_px=12)
    found = evaluate("m", model, data, TEST)
    losses = [
        oracle.log_loss([int(prediction.sample.label)], softmax(prediction.logits)[None], labels=range(3))
        for prediction in predict_role("m", model, data, TEST)
    ]
    np.testing.assert_allclose([e.loss for e in found.worst], sorted(losses, reverse=True)[:WORST], rtol=1e-5)


def test_windows_of_a_map_show_its_labels():
    data, model = task_data("segment"), task_model()
    for example in evaluate("m", model, data, TEST).worst:
        assert example.label.shape == example.predicted.shape == (24, 24)
        assert example.groups[10].shape[-2:] == (24, 24)
        assert (example.label != 255).mean() >= 0.25


def test_the_temperature_changes_probabilities_and_no_class():
    data, model = task_data("classify"), task_model("classify", chip_px=12)
    plain, scaled = (evaluate("m", model, data, TEST, temperature=t) for t in (1.0, 5.0))
    assert [row["predicted"] for row in plain.table] == [row["predicted"] for row in scaled.table]
    assert scaled.after.confidence.sum() < plain.after.confidence.sum()
    assert plain.before.error == scaled.before.error
    for row in scaled.table:
        assert sum(value for name, value in row.items() if name.startswith("p ")) == pytest.approx(1, abs=1e-5)


def test_every_prediction_can_be_read_back(tmp_path, monkeypatch):
    table = evaluate("m", task_model(), task_data("segment"), TEST).table
    path = write_table(tmp_path, "predictions", table)
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(path).to_pylist() == table
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)  # as where it is not installed
    with write_table(tmp_path, "predictions", table).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == [row["key"] for row in table]
    assert int(rows[0]["labels"]) == table[0]["labels"]
