from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.neighbors import KNeighborsClassifier

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.closed_form import nearest_neighbours
from bandloom.errors import ConfigError
from bandloom.pretrain.config import PretrainConfig, ProbeConfig
from bandloom.pretrain.feature_scores import FeatureScores, own_batches, read_labelled_tokens, token_features
from bandloom.pretrain.start import start_of
from bandloom.pretrain.train import pretrain
from bandloom.run_state.run_folder import RunFolder
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.ranks import Ranks
from bandloom.training.snapshots import Snapshots
from tests.bandloom.tiny_training import run_ranks
from tests.pretrain import probing_process


def splits_of(shards: Path) -> dict[str, str]:
    """The two largest splits of a small set, to fit and to score on."""
    entries = ShardSet(shards).entries
    names = sorted({e.split for e in entries}, key=lambda s: -sum(e.split == s for e in entries))
    return {"train_split": names[0], "test_split": names[min(1, len(names) - 1)]}


def config_of(shards: Path, **changes: object) -> PretrainConfig:
    trainer = {"steps": 4, "batch_size": 4, "log_every": 1, "engine": {"precision": "fp32", "warmup_steps": 2}}
    return PretrainConfig.model_validate(
        {"shards": shards, "size": "demo", "crop_px": 36, "split": None, "trainer": trainer} | changes
    )


def test_features_of_fewer_bands_are_those_of_absent_bands(shards: Path):
    config = config_of(shards)
    encoder = start_of(config, ShardSet(shards)).model.encoder
    tokens = read_labelled_tokens(ShardSet(shards), splits_of(shards)["train_split"], 400, 60)
    absent = {gsd: group.copy() for gsd, group in tokens.groups.items()}
    for group in tokens.sensor.groups:
        for index, slot in enumerate(group.slots):
            if slot not in ("B02", "B03", "B04"):
                absent[group.gsd_m][:, index] = 0
    with torch.no_grad():
        wanted = encoder({gsd: torch.from_numpy(g) for gsd, g in absent.items()}, tokens.sensor).numpy()
    found = token_features(encoder, tokens, ("B02", "B03", "B04"))
    np.testing.assert_allclose(found, wanted[tokens.classes != IGNORE_INDEX], atol=2e-5)


def test_the_floors_are_those_of_scikit_learn(shards: Path):
    config, probe = config_of(shards), ProbeConfig.model_validate({"shards": shards, "tokens": 800} | splits_of(shards))
    encoder = start_of(config, ShardSet(shards)).model.encoder
    scores = FeatureScores(probe, encoder)
    train, test = (each.classes[each.classes != IGNORE_INDEX] for each in (scores.train, scores.test))
    dummy = DummyClassifier().fit(np.zeros((len(train), 1)), train)
    found = scores(encoder)
    assert found["floor_majority"] == pytest.approx(dummy.score(np.zeros((len(test), 1)), test))
    assert found["ridge"] == found["floor_random"]  # the encoder before its first step is the floor itself
    assert found["floor_raw"] > found["floor_majority"]
    assert {"ridge_L2A-12", "ridge_Landsat", "ridge_10m", "ridge_RGB"} <= set(found)
    assert "ridge_13" not in found  # that is ridge


def test_one_neighbour_is_that_of_scikit_learn(shards: Path):
    rng = np.random.default_rng(1)
    train, test, labels = rng.normal(size=(300, 8)), rng.normal(size=(80, 8)), rng.integers(0, 5, 300)
    oracle = KNeighborsClassifier(1, metric="cosine").fit(train, labels).predict(test)
    np.testing.assert_array_equal(nearest_neighbours(train, labels, test, 5, k=1), oracle)


def test_scores_are_logged_keep_the_best_snapshot_and_change_no_loss(shards: Path, tmp_path: Path):
    watched = config_of(shards, probe={"shards": shards, "every": 2, "tokens": 400} | splits_of(shards))
    losses = []
    for name, config in (("plain", config_of(shards)), ("watched", watched)):
        run = RunFolder(tmp_path / name)
        assert pretrain(config, run) == 0
        losses.append([line["loss"] for line in run.metrics("train")])
    assert losses[0] == losses[1]
    lines = RunFolder(tmp_path / "watched").metrics("score")
    assert [line["step"] for line in lines] == [2, 4]
    best = Snapshots(tmp_path / "watched" / "snapshots", Ranks.from_environment(), 2).best()
    assert best is not None
    assert best["score"] == pytest.approx(max(line["ridge"] for line in lines), abs=1e-4)


def test_a_split_without_samples_is_said(shards: Path):
    with pytest.raises(ConfigError, match=r"no sample in the split 'none'; it holds .*: set probe\.train_split"):
        read_labelled_tokens(ShardSet(shards), "none", 10, 60)


@pytest.mark.slow
def test_two_ranks_score_what_one_does(shards: Path, tmp_path: Path):
    given = {"shards": str(shards), "splits": splits_of(shards), "tokens": (400, 1200)}
    alone = probing_process.scores(**given)
    shared = run_ranks("tests.pretrain.probing_process:scores", 2, tmp_path, **given)
    assert [result["scores"] for result in shared] == [alone["scores"]] * 2
    assert alone["samples"] == [1, 3]
    assert [result["samples"] for result in shared] == [[0, 1], [1, 2]]  # of one sample a rank has none
    assert [result["stopped"] for result in shared] == [True, True]  # one was asked, both end


def test_the_ranks_batches_are_all_of_them_in_order():
    for count in (0, 1, 16, 17, 100, 640):
        for world in (1, 2, 3, 8):
            parts = [own_batches(count, Ranks(rank, rank, world, torch.device("cpu"))) for rank in range(world)]
            assert [index for part in parts for index in range(count)[part]] == list(range(count))
            assert all(part.start % 16 == 0 for part in parts)
