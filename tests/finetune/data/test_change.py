"""Change between two dates: pairs, labels, model, and a run on planted change."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bandloom.cli import main
from bandloom.errors import LabelError
from bandloom.finetune.baselines.classic import run_baselines
from bandloom.finetune.data.change import CHANGE, ChangeData, changed, find_pairs
from bandloom.finetune.data.splits import TRAIN, BlockSplit
from bandloom.finetune.model.checkpoint import load_task_model, save_task_model
from bandloom.finetune.model.task_model import TaskModel, split_dates
from bandloom.finetune.tasks.change import CHANGE as TASK
from bandloom.scores import ScoreRecord, read_scores
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.loader import Loader
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth.planted_change import write_pairs
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2, chips, encoder


@pytest.fixture(scope="module", name="pair_shards")
def two_dates(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("pairs"), 2, 240)


def make_shards(folder, places: int, size_px: int):
    write_pairs(folder / "data", places, size_px, 3)
    labels = {"labels": str(folder / "data" / "labels"), "label_set": str(folder / "data" / "label_set.yaml")}
    build([str(folder / "data" / "scenes")], folder / "shards", BuildOptions(side_px=120, **labels))
    return folder / "shards"


def test_maps_differ_where_both_know_their_class():
    one, two = np.array([[0, 1, 255, 2]], np.uint8), np.array([[0, 2, 1, 255]], np.uint8)
    assert changed(one, two).tolist() == [[0, 1, 255, 255]]


def test_a_date_is_paired_with_the_next_of_its_place():
    entries = [
        replace(e, datetime=f"202{i % 3}-06-01", x_m=0.0 if i < 3 else 60.0 * i)
        for i, e in enumerate(FakeShards(5, 12).entries)
    ]
    assert find_pairs(entries, S2.name, both_labelled=True) == {0: 1, 1: 2}
    entries[1] = replace(entries[1], has_label=False)
    assert find_pairs(entries, S2.name, both_labelled=True) == {}
    assert find_pairs(entries, S2.name, both_labelled=False) == {1: 2}


def test_one_date_alone_is_a_sentence():
    with pytest.raises(LabelError, match="no place of sentinel2-l1c at two dates"):
        ChangeData(FakeShards(2), BlockSplit(300), S2)


def test_a_pair_stacks_its_dates_and_knows_what_changed(pair_shards):
    data = ChangeData(ShardSet(pair_shards), BlockSplit(300, 60), S2)
    assert len(data.indices) == 8
    assert data.label_set == CHANGE
    index = int(data.indices[0])
    pair, one, two = data.read(index), data.shards.read(index), data.shards.read(data.later[index])
    earlier, later = split_dates(pair.groups)
    for gsd in one.groups:
        assert np.array_equal(earlier[gsd], one.groups[gsd])
        assert np.array_equal(later[gsd], two.groups[gsd])
    assert ((pair.label == 1) == (one.label != two.label)).all()
    assert one.meta["datetime"] < two.meta["datetime"]


def test_training_crops_hold_both_dates_of_the_same_ground(pair_shards):
    data = ChangeData(ShardSet(pair_shards), BlockSplit(300, 60), S2)
    places = {data.shards.entries[i].key: i for i in data.indices.tolist()}
    batch = next(iter(Loader(data.shards, data.indices_of(TRAIN), 4, crop_px=24, workers=0)))
    pairs = data.with_pairs(batch)
    earlier, later = split_dates(pairs.groups)
    for gsd in batch.groups:
        assert np.array_equal(earlier[gsd], batch.groups[gsd])
        assert later[gsd].shape == batch.groups[gsd].shape
    for key, (x, y), label in zip(pairs.keys, pairs.corner_m, pairs.label, strict=True):
        entry, whole = data.shards.entries[places[key]], data.read(places[key]).label
        row, column = int((entry.y_m - y) / 10), int((x - entry.x_m) / 10)
        assert np.array_equal(label, whole[row : row + 24, column : column + 24])


def change_model() -> TaskModel:
    return TaskModel(encoder(), S2, CHANGE, "change", 24)


def pair(seed: int = 0) -> dict[int, torch.Tensor]:
    one, two = chips(seed=seed), chips(seed=seed + 1)
    return {gsd: torch.cat([one[gsd], two[gsd]], 1) for gsd in one}


def test_a_change_model_maps_pairs_and_survives_saving(tmp_path):
    model = change_model().eval()
    assert model(pair()).shape == (2, 2, 24, 24)
    save_task_model(tmp_path / "m", model, {})
    assert torch.equal(load_task_model(tmp_path / "m")(pair()), model(pair()))


def test_two_equal_dates_leave_the_difference_empty():
    model, one = change_model(), chips()
    same = {gsd: torch.cat([group, group], 1) for gsd, group in one.items()}
    assert (model.pixel_bands(same)[:, 13:] == 0).all()
    assert (model._both_dates(*split_dates(same))[..., 64:].abs() < 1e-5).all()


def test_the_floors_find_some_change(pair_shards):
    data = ChangeData(ShardSet(pair_shards), BlockSplit(300, 60), S2)
    rows = {
        row.name: row.scores(CHANGE.names)
        for row in run_baselines(["majority", "post_classification", "pair_logistic"], data, 0, TASK.baselines)
    }
    assert rows["post_classification"]["classes"][1]["recall"] > 0.5
    assert rows["pair_logistic"]["macro_f1"] > rows["majority"]["macro_f1"]


def run(tmp_path, shards, *overrides: str) -> ScoreRecord:
    (tmp_path / "c.yaml").write_text(f"shards: {shards}\ntask: change\n")
    with pytest.raises(SystemExit) as end:
        main(["finetune", str(tmp_path / "c.yaml"), "size=demo", "seeds=1", *overrides, "--out", str(tmp_path / "run")])
    assert not end.value.code
    return read_scores(tmp_path / "run" / "metrics.json")


@pytest.mark.slow
def test_a_run_ends_in_a_report(tmp_path, pair_shards):
    few = ("trainer.steps=2", "trainer.batch_size=4", "trainer.workers=0", "warm_steps=5", "chip_px=24", "bootstrap=50")
    record = run(tmp_path, pair_shards, *few, "baselines=[majority]")
    assert record.task == "change"
    assert [land_class.name for land_class in record.rows[0].classes] == ["unchanged", "changed"]
    assert (tmp_path / "run" / "pictures" / "worst.png").exists()
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(tmp_path / "run"), str(pair_shards), "--out", str(tmp_path / "again")])
    assert not end.value.code
    assert read_scores(tmp_path / "again" / "metrics.json").confusion == record.confusion


@pytest.mark.slow
def test_planted_change_is_found_better_than_by_comparing_two_maps(tmp_path):
    shards = make_shards(tmp_path, 6, 240)
    record = run(tmp_path, shards, "trainer.steps=100", "trainer.batch_size=8", "chip_px=48", "loss=cross_entropy_dice")
    iou = {row.name: row.classes[1].scores["iou"] for row in record.rows}
    assert iou["fine-tuned"] > iou["post_classification"]
    low, _ = record.row("post_classification").margin_95["macro_f1"]
    assert low > 0
