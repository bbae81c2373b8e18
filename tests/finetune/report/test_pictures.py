import numpy as np
import pytest

from bandloom.finetune.data.splits import TEST, BlockSplit
from bandloom.finetune.report.pictures import (
    coloured,
    draw_confusion,
    draw_curves,
    draw_reliability,
    draw_worst,
    true_colour,
)
from bandloom.finetune.scores.calibration import Reliability
from bandloom.finetune.scores.evaluation import evaluate
from bandloom.finetune.tasks.registry import get_task
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import LABELS, S2, task_model


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_every_picture_is_drawn(tmp_path, task):
    shards = FakeShards(40, 12, chips=True) if task == "classify" else FakeShards(2)
    data = get_task(task).data(shards, BlockSplit(120 if task == "classify" else 300, 0), S2)
    found = evaluate("m", task_model(task, chip_px=12), data, TEST, temperature=1.5)
    draw_worst(tmp_path / "worst.png", found.worst, LABELS, S2)
    draw_confusion(tmp_path / "confusion.png", found.row.confusion, LABELS.names)
    draw_reliability(tmp_path / "reliability.png", found.calibration())
    draw_curves(
        tmp_path / "curves.png",
        [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}],
        [{"step": 2, "validation_macro_f1": 0.5}],
    )
    for name in ("worst", "confusion", "reliability", "curves"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("key", "says"), [("validation_rmse", "RMSE"), ("validation_map_macro", "macro mAP")])
def test_curves_are_of_the_tasks_own_score(tmp_path, monkeypatch, key, says):
    drawn = []
    monkeypatch.setattr("bandloom.finetune.report.pictures.save_figure", lambda figure, path: drawn.append(figure))
    draw_curves(tmp_path / "c.png", [{"step": 1, "loss": 2.0}], [{"step": 0, key: 0.25}, {"step": 1, key: 0.5}])
    right = drawn[0].axes[1]
    assert right.get_ylabel() == f"{says}, validation"
    assert list(right.lines[0].get_ydata()) == [0.25, 0.5]


def test_nothing_to_show_draws_nothing(tmp_path):
    draw_worst(tmp_path / "worst.png", [], LABELS, S2)
    assert not (tmp_path / "worst.png").exists()
    nothing = Reliability.nothing().to_dict()
    draw_reliability(tmp_path / "r.png", {"temperature": 1.0, "before": nothing, "after": nothing})


def test_absent_ground_is_black_and_red_is_red():
    groups = FakeShards(1, 12).read(0).groups
    groups[10][:] = 2000
    groups[10][2, :, 6:] = 6000  # B04 comes third of the 10 m bands
    groups[10][:, 0] = 0
    picture = true_colour(groups, S2)
    assert (picture[0] == 0).all()
    assert (picture[5, 9] == np.array([1, 0, 0])).all()
    assert (true_colour({gsd: 0 * group for gsd, group in groups.items()}, S2) == 0).all()


def test_classes_take_their_colours_and_no_label_is_white():
    assert coloured(np.array([[0, 255]]), LABELS).tolist() == [[[0, 0, 255], [255, 255, 255]]]
