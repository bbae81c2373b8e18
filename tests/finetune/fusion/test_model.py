import numpy as np
import pytest
import torch

from bandloom.errors import CheckpointError
from bandloom.finetune.fusion.config import ImageConfig
from bandloom.finetune.fusion.model import FusionHead
from bandloom.finetune.fusion.towers import EncoderTower, ResNetTower, make_tower
from bandloom.finetune.probes.frozen_features import frozen_features
from bandloom.model.statistics import Statistics
from tests.finetune.models import S2, chips, encoder

KINDS = ("concatenate", "film", "cross_attention")
STATISTICS = Statistics(mean=dict.fromkeys(S2.slots, 0.2), std=dict.fromkeys(S2.slots, 0.1))


def head(kind: str, **changes) -> FusionHead:
    torch.manual_seed(0)
    return FusionHead(kind, 6, 5, 3, 16, **changes).eval()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_more_of_zeros_changes_nothing(kind):
    model, tokens, words = head(kind), torch.randn(4, 9, 6), torch.randn(4, 2, 5)
    padded = torch.cat([words, torch.zeros(4, 3, 5)], 1)
    assert torch.allclose(model(tokens, words), model(tokens, padded), atol=1e-6)
    assert model(tokens, torch.zeros(4, 2, 5)).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_joined_heads_use_both_and_the_others_one(kind):
    model, tokens, words = head(kind), torch.randn(4, 9, 6), torch.randn(4, 2, 5)
    if kind == "film":  # at the start the words change nothing
        assert torch.equal(model(tokens, words), model(tokens, words.flip(0)))
        torch.nn.init.normal_(model.scale_shift.weight)
    assert not torch.allclose(model(tokens, words), model(tokens, words.flip(0)), atol=1e-4)
    assert not torch.allclose(model(tokens, words), model(tokens.flip(0), words), atol=1e-4)
    assert torch.equal(head("image")(tokens, words), head("image")(tokens, words.flip(0)))
    assert torch.equal(head("text")(tokens, words), head("text")(tokens.flip(0), words))


def test_tokens_are_standardised_by_what_the_head_holds():
    mean, std, tokens = torch.randn(6), torch.rand(6) + 0.5, torch.randn(4, 9, 6)
    with_own, plain = head("image", image_mean=mean, image_std=std), head("image")
    words = torch.zeros(4, 1, 5)
    assert torch.allclose(with_own(tokens * std + mean, words), plain(tokens, words), atol=1e-5)


def test_the_encoders_tokens_are_those_that_probes_keep(chip_shards):
    from bandloom.finetune.config import FinetuneConfig
    from bandloom.finetune.experiment import open_data

    data = open_data(FinetuneConfig(shards=chip_shards, task="classify")).some(0, 5)
    own = encoder()
    held = frozen_features(own, data, 24).tokens
    groups = [data.read(int(i)).groups for i in data.indices]
    stacked = {gsd: torch.from_numpy(np.stack([group[gsd] for group in groups])) for gsd in groups[0]}
    with torch.no_grad():
        assert np.allclose(EncoderTower(own, S2)(stacked).half().numpy(), held, atol=1e-3)


def test_resnet_sees_all_bands_and_takes_local_weights(tmp_path):
    from safetensors.torch import save_file

    tower = ResNetTower(S2, STATISTICS).eval()
    groups = chips()
    with torch.no_grad():
        found = tower(groups)
    assert found.shape == (2, 1, 2048)
    save_file(dict(tower.network.state_dict()), tmp_path / "r.safetensors")
    config = ImageConfig(network="resnet50", checkpoint=tmp_path / "r.safetensors")
    again = make_tower(config, S2, STATISTICS, seed=5).eval()
    with torch.no_grad():
        assert torch.equal(again(groups), found)
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "rgb.safetensors")
    with pytest.raises(CheckpointError, match="with 13 input bands"):
        ResNetTower(S2, STATISTICS, tmp_path / "rgb.safetensors")
    (tmp_path / "bad.safetensors").write_text("no")
    with pytest.raises(CheckpointError, match="cannot be read"):
        ResNetTower(S2, STATISTICS, tmp_path / "bad.safetensors")
