"""The testbed: its parts are what they say, and local filters stay far below a network that sees surroundings."""

import numpy as np
import pytest

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.shards.synth import label_set, synthesise
from benchmarks import search_scores, testbed
from benchmarks.search_scores import local_accuracy, middle_and_mean, middle_mean_and_deviation
from benchmarks.testbed_ceiling import supervised

FEW = {"PRETRAINED_ON": 12, "VALIDATION": range(12, 15), "TEST": range(15, 19), "SCENES": 19}
CACHED = (testbed.scenes, testbed.statistics, search_scores._tiles, search_scores._reader, search_scores._raw_tokens)


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """The testbed with 19 scenes in place of 84, and nothing kept of it afterwards."""

    def forget() -> None:
        for function in CACHED:
            function.cache_clear()

    forget()
    monkeypatch.setattr(testbed, "CACHE", tmp_path)
    for name, value in FEW.items():
        monkeypatch.setattr(testbed, name, value)
    yield
    forget()


def test_parts_do_not_overlap_and_nothing_pretrained_on_is_scored() -> None:
    parts = [range(testbed.PRETRAINED_ON), testbed.VALIDATION, testbed.TEST]
    assert sorted(scene for part in parts for scene in part) == list(range(testbed.SCENES))
    assert set(testbed.LABELLED) < set(parts[0])


def test_a_scene_is_the_generators_and_its_tokens_have_the_class_of_most_of_their_labelled_pixels() -> None:
    groups, classes = testbed.scene_of(testbed.FIRST_SEED)
    scene = synthesise(480, testbed.FIRST_SEED, cloud_fraction=0.0, ground="surroundings")
    np.testing.assert_array_equal(groups[20], scene.groups[20])
    indices = label_set("surroundings").index_of(scene.label)
    for y, x in ((0, 0), (17, 40), (33, 12), (79, 79)):
        own = indices[6 * y : 6 * y + 6, 6 * x : 6 * x + 6]
        votes = np.bincount(own.ravel(), minlength=256)[:IGNORE_INDEX]
        assert votes[classes[y, x]] == votes.max() if votes.any() else classes[y, x] == IGNORE_INDEX


def test_chips_are_read_by_their_middle_and_by_all_of_their_tokens() -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 144, 3)).astype(np.float32)
    read = middle_mean_and_deviation(tokens)
    middle = tokens.reshape(2, 12, 12, 3)[:, 5:7, 5:7].reshape(2, 4, 3).mean(1)
    np.testing.assert_allclose(read, np.concatenate([middle, tokens.mean(1), tokens.std(1)], 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(middle_and_mean(tokens), read[:, :6])


@pytest.mark.slow
def test_random_filters_close_at_most_half_of_what_a_network_gains_over_statistics(few_scenes) -> None:
    statistics, filters = (local_accuracy(n, range(12), 10_000, 0) for n in ("statistics", "random conv"))
    network = supervised(steps=300, batch=12, lr=1.5e-3, seed=0, every=100)["test"]
    assert network > statistics + 0.03
    assert filters - statistics <= 0.5 * (network - statistics)
