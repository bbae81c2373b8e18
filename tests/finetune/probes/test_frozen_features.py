import json

import numpy as np
import torch

from bandloom.finetune.data.chips import ChipData
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.multilabel import MultilabelData
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, TRAIN, BlockSplit
from bandloom.finetune.probes.attention import attention_probe
from bandloom.finetune.probes.frozen_features import frozen_features, halved, weights_digest
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import LABELS, S2, encoder


def chip_data(seed: int = 0) -> TaskData:
    return ChipData(FakeShards(40, 12, chips=True, seed=0), BlockSplit(120, 0, seed=seed), S2)


def test_features_of_chips_are_the_encoders_mean_tokens():
    data, model = chip_data(), encoder().eval()
    found = frozen_features(model, data, 12)
    groups = {gsd: torch.from_numpy(group[None]) for gsd, group in data.shards.read(3).groups.items()}
    with torch.no_grad():
        expected = model.forward_features(groups, S2)
    np.testing.assert_allclose(found.mean[3], expected[0].mean(0), atol=1e-5)
    np.testing.assert_allclose(found.tokens[3], expected[0], atol=1e-2)  # 2 x 2 tokens are fewer than 4 x 4
    assert found.labels.tolist() == [entry.class_index for entry in data.shards.entries]


def test_tokens_beyond_float16_are_kept_as_they_are_and_never_infinite():
    tokens = torch.tensor([[[1.5, -3.0]], [[65_504.0, 0.1]]])
    assert halved(tokens).dtype == np.float16
    large = torch.tensor([[[1.5, -70_000.0]]])
    assert halved(large).dtype == np.float32
    assert halved(large).tolist() == large.tolist()


def test_roles_and_blocks_are_the_splits_own_whatever_was_kept(tmp_path):
    cache = tmp_path / "features.npz"
    for seed in (0, 5):
        data = chip_data(seed)
        found = frozen_features(encoder(), data, 12, cache=cache)
        for role in (TRAIN, TEST):
            assert (found.roles == role).sum() == data.counts.sum((0, 2))[role]


def test_features_are_computed_once_and_again_for_other_weights_or_bands(tmp_path, monkeypatch):
    cache, data, model = tmp_path / "features.npz", chip_data(), encoder()
    first = frozen_features(model, data, 12, cache=cache)
    calls = []
    monkeypatch.setattr(data.shards, "read", lambda index: calls.append(index) or data.shards.samples[index])
    assert (frozen_features(model, data, 12, cache=cache).mean == first.mean).all()
    assert not calls
    fewer = frozen_features(model, data, 12, slots=("B02", "B03", "B04"), cache=cache)
    assert not np.allclose(fewer.mean, first.mean)
    with torch.no_grad():
        model.norm.bias += 1
    assert not np.allclose(frozen_features(model, data, 12, cache=cache).mean, first.mean)
    cache.write_bytes(b"nonsense")
    assert len(frozen_features(model, data, 12, cache=cache).mean) == 40


def test_tokens_of_a_map_take_the_class_that_covers_them():
    data = PixelData(FakeShards(2, 60), BlockSplit(300, 0), S2)
    found = frozen_features(encoder(), data, 24)
    label = data.shards.read(0).label
    assert len(found.labels) == 200  # every 60 m of the fake fields is of one class
    assert found.labels[:4].tolist() == [label[3, 3 + 6 * i] for i in range(4)]
    assert found.mean.shape == (200, 32)
    assert not len(found.tokens)


def test_equal_weights_have_equal_digests():
    assert weights_digest(encoder()) == weights_digest(encoder())
    assert weights_digest(encoder()) != weights_digest(encoder(depth=3))


def test_attention_finds_the_one_token_that_tells_the_class():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    tokens = rng.normal(0, 1, (400, 16, 8))
    place = rng.integers(0, 16, 400)
    tokens[np.arange(400), place, 0] += 6  # marks the token
    tokens[np.arange(400), place, 1] += np.where(labels, 4, -4)
    predicted = attention_probe(tokens[:300], labels[:300], tokens[300:], 2)
    assert (predicted == labels[300:]).mean() > 0.9


def test_an_encoder_is_shown_the_bands_of_the_configs_sensor_alone():
    rgb = S2.subset(["B02", "B03", "B04"])
    few = ChipData(FakeShards(6, 12, chips=True), BlockSplit(120, 0), rgb)
    every = ChipData(FakeShards(6, 12, chips=True), BlockSplit(120, 0), S2)
    shown = frozen_features(encoder(), few, 12)
    np.testing.assert_allclose(shown.mean, frozen_features(encoder(), every, 12, slots=rgb.slots).mean, atol=1e-6)


def test_labels_of_several_classes_are_the_targets_and_another_table_is_not_read_from_the_cache(tmp_path):
    shards, cache = FakeShards(6, 12, chips=True), tmp_path / "features.npz"
    for number, names in enumerate((["water"], ["forest", "field"])):
        table = tmp_path / f"{number}.json"
        table.write_text(json.dumps({entry.key: names for entry in shards.entries}))
        found = frozen_features(encoder(), MultilabelData(shards, BlockSplit(120, 0), S2, 0.02, table), 12, cache=cache)
        assert (found.labels == np.isin(LABELS.names, names)).all()
