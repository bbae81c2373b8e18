from pathlib import Path

import numpy as np
import pytest

from bandloom.finetune.report.pictures import true_colour
from bandloom.finetune.report.tested import TESTED, write_tested
from bandloom.finetune.scores import evaluation
from bandloom.finetune.scores.evaluation import Example
from bandloom.sensors import get_sensor

SENSOR = get_sensor("sentinel2-l1c")


def sample(key: str, seed: int, dates: int = 1, side: int = 12) -> Example:
    random = np.random.default_rng(seed)
    groups = {
        group.gsd_m: random.integers(1100, 4000, (dates * len(group.bands), *(side * 10 // group.gsd_m,) * 2)).astype(
            np.uint16
        )
        for group in SENSOR.groups
    }
    label = random.integers(0, 3, (side, side)).astype(np.uint8)
    return Example(key, groups, label, label[::-1].copy(), 0.0, 0.0)


def test_what_is_kept_comes_back(tmp_path: Path):
    samples = [sample("a", 1), sample("b", 2)]
    write_tested(tmp_path, samples, SENSOR)
    with np.load(tmp_path / TESTED, allow_pickle=False) as held:
        assert held["keys"].tolist() == ["a", "b"]
        for number, kept in enumerate(samples):
            np.testing.assert_array_equal(held[f"truth {number}"], kept.label)
            np.testing.assert_array_equal(held[f"predicted {number}"], kept.predicted)
            picture = true_colour(kept.groups, SENSOR)
            np.testing.assert_allclose(held[f"image {number}"] / 255, picture, atol=1 / 255)


def test_of_two_dates_the_later_is_shown(tmp_path: Path):
    two = sample("a", 1, dates=2)
    write_tested(tmp_path, [two], SENSOR)
    later = {g: group[group.shape[0] // 2 :] for g, group in two.groups.items()}
    with np.load(tmp_path / TESTED) as held:
        np.testing.assert_allclose(held["image 0"] / 255, true_colour(later, SENSOR), atol=1 / 255)


def test_nothing_is_written_where_nothing_was_kept(tmp_path: Path):
    write_tested(tmp_path, (), SENSOR)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most", [1, 144, 145, 500, 10_000])
def test_runs_keep_the_same_samples_in_whatever_order_they_come(monkeypatch: pytest.MonkeyPatch, most: int):
    monkeypatch.setattr(evaluation, "KEPT_PX", most)
    samples = [sample(f"s{i}", i) for i in range(8)]
    one: list[Example] = []
    other: list[Example] = []
    for i in range(8):
        one = evaluation._kept([*one, samples[i]])
        other = evaluation._kept([*other, samples[7 - i]])
    assert [kept.key for kept in one] == [kept.key for kept in other]
    assert len(one) == max(1, min(8, most // 144))
