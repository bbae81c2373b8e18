"""Chips that lost bands lie below whole ones, in their own chip's fold, and count what they are said to."""

from pathlib import Path

import numpy as np
import pytest

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.closed_form import fit_ridge
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.training import chip_rows as module
from bandloom.finetune.training.chip_rows import FEWER_WEIGHT, FOLDS, chip_rows, smaller_subsets, training_rows
from bandloom.sensors import SENSORS
from tests.finetune.training.test_fit_chips import opened


def test_a_sensor_loses_what_other_sensors_lack_and_keeps_something():
    s2 = smaller_subsets(SENSORS["sentinel2-l1c"])
    assert [set(slots) for slots in s2] == [set(BAND_SUBSETS[name]) for name in ("L2A-12", "Landsat", "10m", "RGB")]
    rgb = SENSORS["sentinel2-l1c"].subset(["B02", "B03", "B04"])
    assert smaller_subsets(rgb) == []
    assert len(smaller_subsets(SENSORS["sentinel2-l2a"])) == 3  # it has nothing more than itself


def test_chips_with_fewer_bands_lie_in_the_fold_of_their_chip_and_count_a_tenth(
    chip_shards: Path, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "FEWER_CHIPS", 7)
    setting, model = opened(chip_shards, encoder_folder)
    data, head = setting.data, model.head
    rows = training_rows(model, head, data, 30, 0.01)
    subsets = smaller_subsets(data.sensor)
    assert rows.fewer is not None
    assert len(rows.fewer.labels) == 7 * len(subsets)
    labels, weights = rows.stacked(lambda chips: chips.labels)
    assert weights is not None
    assert weights[: len(rows.labels)].tolist() == [1.0] * len(rows.labels)
    assert weights[len(rows.labels) :].sum() == pytest.approx(FEWER_WEIGHT * len(rows.labels))
    whole = {number: place for place, number in enumerate(rows.chips.tolist())}
    for place, number in enumerate(rows.fewer.chips.tolist(), len(rows.labels)):
        assert rows.folds[place] == whole[number] % FOLDS
        assert labels[place] == rows.labels[whole[number]]
    (last,) = [chip_rows(model, head, data.some(TRAIN, 30), TRAIN, 7, [slots]) for slots in subsets[-1:]]
    assert np.array_equal(last.parts["statistics"], rows.fewer.parts["statistics"][-7:])
    assert training_rows(model, head, data, 30, 0.5).weight == 0.5
    assert training_rows(model, head, data, 30, 0.0).fewer is None


def test_a_ridge_row_that_counts_twice_is_that_row_twice():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    counts = rng.integers(1, 4, 60)
    one = fit_ridge(rows, labels, 3, [2.0], counts=counts.astype(float))
    wanted = fit_ridge(np.repeat(rows, counts, axis=0), np.repeat(labels, counts), 3, [2.0])
    np.testing.assert_allclose(one, wanted, atol=1e-10)
