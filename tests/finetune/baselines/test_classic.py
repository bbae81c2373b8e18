import numpy as np
import pytest

from bandloom.errors import ConfigError, LabelError, ShardError
from bandloom.finetune.baselines.classic import run_baselines
from bandloom.finetune.baselines.features import chip_statistics, context_bands
from bandloom.finetune.data.labelled import TaskData, pick_sensor
from bandloom.finetune.data.own_bands import measured, pixel_bands, to_pixels
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, TRAIN, BlockSplit
from bandloom.finetune.scores.confusion import scores
from bandloom.finetune.tasks.registry import get_task
from bandloom.finetune.tasks.segment import SEGMENT
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2


def data(task="segment", **changes) -> TaskData:
    shards = FakeShards(60, 12, chips=True) if task == "classify" else FakeShards(3, 90)
    split = BlockSplit(120, 0, val=0.15, test=0.25) if task == "classify" else BlockSplit(300, 60)
    return get_task(task).data(shards, split, S2)


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_every_baseline_beats_the_majority_on_separable_classes(task):
    labelled, known = data(task), get_task(task).baselines
    rows = {
        row.name: scores(row.confusion, labelled.label_set.names)
        for row in run_baselines(list(known), labelled, 0, known)
    }
    assert set(rows) == set(known)
    for name, row in rows.items():
        assert name == "majority" or row["macro_f1"] > rows["majority"]["macro_f1"] + 0.2


def test_rows_say_what_they_were_fitted_and_scored_on():
    labelled = data()
    (row,) = run_baselines(["majority"], labelled, 0, SEGMENT.baselines)
    assert row.scored_on == row.confusion.sum() == labelled.counts.sum((0, 2))[TEST]
    assert abs(row.fitted_on - 20_000) < 600 or row.fitted_on == labelled.counts.sum((0, 2))[TRAIN]
    assert len(row.confusions) > 5


def test_an_unknown_baseline_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no baseline 'pixel_fr'.*Did you mean 'pixel_rf'"):
        run_baselines(["pixel_fr"], data(), 0, SEGMENT.baselines)


def test_labels_of_roles_never_overlap_and_unmeasured_ground_has_none():
    labelled = data()
    labelled.shards.samples[0].groups[10][:, :20] = 0
    train, test = labelled.labelled(0, TRAIN), labelled.labelled(0, TEST)
    assert not ((train.label != 255) & (test.label != 255)).any()
    assert (train.label[:20] == 255).all()
    assert (test.label[:20] == 255).all()


def test_counts_equal_the_labels_that_samples_bring():
    labelled = data()
    for role in range(3):
        found = sum(int((sample.label != 255).sum()) for sample in labelled.samples(role))
        assert found == labelled.counts.sum((0, 2))[role]


def test_a_split_that_leaves_a_role_empty_is_a_sentence():
    with pytest.raises(LabelError, match=r"no label for .*split\.block_m"):
        PixelData(FakeShards(1, 12), BlockSplit(6000, 60), S2).check()


def labelled_by_role(classes: dict[int, list[int]]) -> TaskData:
    """Labels whose classes each role holds are given: train 0, validation 1, test 2."""
    labelled = data()
    for index in labelled.indices.tolist():
        for role, own in classes.items():
            found = labelled.labelled(index, role)
            if found is not None:
                label, known = labelled.shards.samples[index].label, found.label != 255
                label[known] = np.resize(own, int(known.sum()))
    return labelled


def test_a_split_that_tests_on_what_it_never_trains_on_is_a_sentence():
    with pytest.raises(LabelError, match=r"tests on field alone, of which it leaves nothing to train on.*split\.seed"):
        labelled_by_role({0: [0, 1], 1: [0, 1], 2: [2]}).check()


def test_classes_of_the_test_that_were_never_trained_on_are_warned_of(caplog):
    labelled_by_role({0: [0, 1], 1: [0, 1], 2: [1, 2]}).check()
    assert "the split tests on field, of which it leaves nothing to train on" in caplog.text
    caplog.clear()
    labelled_by_role({0: [0, 1, 2], 1: [0], 2: [1, 2]}).check()
    assert not caplog.text


def test_a_label_of_another_size_than_its_image_is_a_sentence():
    labelled = data()
    sample = labelled.shards.samples[1]
    labelled.shards.samples[1] = type(sample)(sample.key, S2, sample.groups, sample.label[:-6], None)
    with pytest.raises(LabelError, match=r"s1 is 84 x 90 pixels, its image 90 x 90"):
        labelled.check()


def test_a_label_beyond_the_classes_is_a_sentence():
    labelled = data()
    labelled.shards.samples[1].label[5, 5] = 7
    with pytest.raises(LabelError, match=r"class index 7.*3 classes"):
        labelled.check()


def test_shards_without_labels_are_a_sentence():
    shards = FakeShards()
    shards.label_set = None
    with pytest.raises(LabelError, match="carry no labels"):
        PixelData(shards, BlockSplit(300), S2)


def test_a_sensor_that_the_shards_lack_is_a_sentence():
    assert pick_sensor(FakeShards(), None) == S2
    with pytest.raises(ShardError, match="hold no sensor 'theos1'"):
        pick_sensor(FakeShards(), "theos1")
    shards = FakeShards()
    shards.sensors = {"a": S2, "b": S2}
    with pytest.raises(ShardError, match="hold several sensors"):
        pick_sensor(shards, None)


def test_pixels_take_the_sample_they_lie_in():
    assert to_pixels(np.array([[1, 2]]), 20).tolist() == [[1, 1, 2, 2]] * 2
    assert to_pixels(np.array([[1, 2, 3, 4]]), 15)[0].tolist() == [1, 2, 2, 3, 4, 4]


def test_bands_come_finest_first_as_reflectance_with_absent_ones_nan():
    groups = {g.gsd_m: np.full((len(g.bands), 60 // g.gsd_m, 60 // g.gsd_m), 3000, np.uint16) for g in S2.groups}
    groups[10][0, 0, 0] = 0
    bands = pixel_bands(groups, S2)
    assert bands.shape == (13, 6, 6)
    assert np.isnan(bands[0, 0, 0])
    assert np.nanmin(bands) == np.nanmax(bands) == pytest.approx(0.2)
    assert measured(groups).all()
    assert np.isfinite(context_bands(bands)[13:]).all()
    assert chip_statistics(groups, S2).shape == (52,)
