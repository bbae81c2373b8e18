from pathlib import Path

import numpy as np
import pytest

from bandloom.block_scores import class_scores
from bandloom.finetune.scores.confusion import ConfusionRow
from bandloom.finetune.scores.values import ValueRow, block_sums
from bandloom.view.comparison.paired import Pair, pair
from tests.view.comparison.made_run import CLASSES, counts, make_run


def test_scores_and_intervals_are_those_that_a_fine_tuning_gives_its_own_baselines(tmp_path: Path):
    held = [counts(1, right=0.7), counts(2, right=0.85)]
    both = pair(make_run(tmp_path / "a", held[0]), make_run(tmp_path / "b", held[1]))
    assert isinstance(both, Pair)
    one, other = (ConfusionRow(name="x", confusions=confusions) for confusions in held)
    wanted = other.margins(one, 1000)
    assert next(iter(both.scores)) == "macro_f1"
    for name, difference in both.scores.items():
        assert difference.first == pytest.approx(one.scores(CLASSES)[name])
        assert difference.second == pytest.approx(other.scores(CLASSES)[name])
        assert difference.interval == pytest.approx(tuple(wanted[name]))
    assert (both.blocks, both.labels, both.why) == ((12, 12, 12), 720, "")


def test_each_class_has_the_interval_of_a_loop_over_draws(tmp_path: Path):
    held = [counts(1, right=0.7), counts(2, right=0.85)]
    both = pair(make_run(tmp_path / "a", held[0]), make_run(tmp_path / "b", held[1]))
    assert isinstance(both, Pair)
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=1000)
    for index, name in enumerate(CLASSES):
        gaps = []
        for row in weights:
            totals = [sum(int(w) * m for w, m in zip(row, confusions.values(), strict=True)) for confusions in held]
            one, other = (2 * t[index, index] / (t[index].sum() + t[:, index].sum()) for t in totals)
            gaps.append(other - one)
        assert both.classes[name]["f1"].interval == pytest.approx(tuple(np.percentile(gaps, (2.5, 97.5))))
        assert both.support[name] == sum(m[index].sum() for m in held[0].values())


def test_errors_of_a_measured_value_are_paired_too(tmp_path: Path):
    rng = np.random.default_rng(0)
    truth, blocks = rng.normal(10, 3, 400), np.repeat(np.arange(1, 9), 50)
    sums = [block_sums(truth, truth + rng.normal(0, spread, 400), blocks) for spread in (2.0, 1.0)]
    runs = [make_run(tmp_path / name, held, task="regress") for name, held in zip("ab", sums, strict=True)]
    both = pair(*runs)
    assert isinstance(both, Pair)
    one, other = (ValueRow(name="x", sums=held) for held in sums)
    assert both.scores["rmse"].interval == pytest.approx(tuple(other.margins(one, 1000)["rmse"]))
    assert both.labels == 400
    assert both.classes == {}


def test_runs_under_other_splits_are_compared_on_the_blocks_that_tested_both(tmp_path: Path):
    held = [counts(1, 12), counts(2, 12)]
    first = {block: m for block, m in held[0].items() if block <= 9}
    second = {block: m for block, m in held[1].items() if block >= 4}
    both = pair(make_run(tmp_path / "a", first), make_run(tmp_path / "b", second, split="two"))
    assert isinstance(both, Pair)
    assert both.blocks == (6, 9, 9)
    shared = ConfusionRow(name="x", confusions={block: held[0][block] for block in range(4, 10)})
    assert both.scores["macro_f1"].first == pytest.approx(shared.scores(CLASSES)["macro_f1"])
    assert both.labels == 360


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"truth_seed": 5}, "different ground"),  # the same block numbers, other labels
        ({"shards": "elsewhere"}, "different ground"),
        ({"classes": ("sea", "forest", "field")}, "other classes apart"),
    ],
)
def test_what_was_not_tested_on_the_same_labels_is_not_compared(tmp_path: Path, other, sentence):
    first = make_run(tmp_path / "a", counts(1))
    held = counts(2, truth_seed=other.get("truth_seed", 0))
    config = {"shards": other.get("shards", "shards")}
    second = make_run(tmp_path / "b", held, split="two", config=config, classes=other.get("classes", CLASSES))
    said = pair(first, second)
    assert isinstance(said, str)
    assert sentence in said


def test_without_counts_by_block_it_is_said_that_chance_is_not_ruled_out(tmp_path: Path):
    runs = [make_run(tmp_path / name, counts(seed), blocks=name == "a") for seed, name in enumerate("ab")]
    both = pair(*runs)
    assert isinstance(both, Pair)
    assert both.scores["macro_f1"].interval is None
    assert both.scores["macro_f1"].first == pytest.approx(runs[0].scores.rows[0].scores["macro_f1"])  # type: ignore[union-attr]
    assert f"{tmp_path / 'b'} keeps no counts by block" in both.why


def test_a_class_that_neither_occurs_nor_is_predicted_has_no_difference(tmp_path: Path):
    held = [{block: np.pad(m, (0, 1)) for block, m in counts(seed).items()} for seed in (1, 2)]
    names = (*CLASSES, "snow")
    both = pair(*(make_run(tmp_path / n, m, classes=names) for n, m in zip("ab", held, strict=True)))
    assert isinstance(both, Pair)
    assert set(both.classes) == set(CLASSES)
    assert np.isnan(class_scores(held[0][1])["f1"][3])
