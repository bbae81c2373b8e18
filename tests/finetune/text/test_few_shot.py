import numpy as np

from bandloom.finetune.text.few_shot import choose, few_shot, fit_head


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def samples(centres: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(centres)
    return unit(centres[labels] + 0.35 * rng.normal(size=(count, centres.shape[1]))), labels


def test_words_help_most_where_labels_are_fewest():
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(6, 12)))
    words = unit(centres + 0.4 * unit(rng.normal(size=(6, 12))))
    curve = few_shot(*samples(centres, 180, 1), *samples(centres, 300, 2), words, shots=(0, 1, 10), draws=3)
    none, one, ten = curve
    assert none["from words"] > 0.5
    assert none["from random"] < 0.45
    assert one["from words"] > one["from random"]
    assert ten["from words"] >= ten["from random"] - 0.05
    assert ten["from random"] > none["from random"]
    assert none["chance"] == 1 / 6
    assert none["from words deviation"] == 0


def test_without_a_sample_the_head_stays_at_its_start():
    start = unit(np.random.default_rng(1).normal(size=(3, 5)))
    assert fit_head(start, np.zeros((0, 5)), np.zeros(0, np.int64)) is start


def test_the_few_are_so_many_of_each_class():
    labels = np.array([0] * 9 + [1] * 2 + [4] * 5)
    rows = choose(labels, 3, np.random.default_rng(0))
    assert np.bincount(labels[rows], minlength=5).tolist() == [3, 2, 0, 0, 3]
    assert len(np.unique(rows)) == len(rows)
