"""The encoder against timm's own forward pass, and what a position in metres means."""

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from bandloom.model.encoder import SIZES, Encoder, EncoderConfig, count_parameters, position_embedding, take_tokens
from bandloom.model.statistics import Statistics
from bandloom.sensors import SLOTS, get_sensor

STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.05))
S2 = get_sensor("sentinel2-l1c")


def groups(side_m: int = 360, batch: int = 2) -> dict[int, torch.Tensor]:
    rng = np.random.default_rng(0)
    return {
        g.gsd_m: torch.from_numpy(
            rng.integers(1500, 3500, (batch, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m)).astype(np.uint16)
        )
        for g in S2.groups
    }


def encoder(**changes: object) -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderConfig.of_size("demo", **changes), STATISTICS).eval()


def test_blocks_and_norm_are_timms_to_the_letter() -> None:
    own = encoder()
    theirs = VisionTransformer(
        img_size=36, patch_size=6, embed_dim=128, depth=4, num_heads=2, class_token=False, num_classes=0, global_pool=""
    ).eval()
    theirs.blocks.load_state_dict(own.blocks.state_dict())
    theirs.norm.load_state_dict(own.norm.state_dict())
    tokens = own.embed(*own.samples(groups(), S2), S2) + own.positions(6, 6)
    torch.testing.assert_close(own.forward_features(groups(), S2), theirs.norm(theirs.blocks(tokens)))


@pytest.mark.parametrize(("size", "millions"), [("S", 21.3), ("B", 85.1), ("L", 302.4)])
def test_named_sizes_have_the_published_parameter_counts(size: str, millions: float) -> None:
    with torch.device("meta"):
        blocks = Encoder(EncoderConfig.of_size(size), STATISTICS).blocks
    assert count_parameters(blocks) / 1e6 == pytest.approx(millions, abs=0.1)


def test_every_named_size_is_a_valid_shape() -> None:
    for size in SIZES:
        assert EncoderConfig.of_size(size).embed_dim % 4 == 0


def test_a_selection_of_tokens_embeds_like_the_whole() -> None:
    own = encoder()
    samples, valid = own.samples(groups(), S2)
    ids = torch.tensor([[3, 0, 17], [5, 9, 1]])
    whole = own.embed(samples, valid, S2)
    part = own.embed(take_tokens(samples, ids), take_tokens(valid, ids), S2)
    torch.testing.assert_close(take_tokens(whole, ids), part)


def test_features_are_equivariant_to_the_order_of_tokens() -> None:
    own = encoder()
    samples, valid = own.samples(groups(), S2)
    positions = own.positions(6, 6)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(1))
    straight = own.forward_tokens(samples, valid, S2, positions)
    shuffled = own.forward_tokens(samples[:, order], valid[:, order], S2, positions[order])
    torch.testing.assert_close(straight[:, order], shuffled, atol=1e-5, rtol=1e-4)


def test_positions_are_metres_whatever_the_token() -> None:
    """The centre of a 180 m token is the centre of the middle one of nine 60 m tokens."""
    fine, coarse = position_embedding(3, 3, 64, 60), position_embedding(1, 1, 64, 180)
    torch.testing.assert_close(fine[4], coarse[0])


def test_intermediates_end_with_the_features() -> None:
    own = encoder()
    first, last = own.forward_intermediates(groups(), S2, [0, 3])
    assert first.shape == last.shape
    torch.testing.assert_close(last, own.forward_features(groups(), S2))


def test_a_token_of_120_metres_quarters_their_number() -> None:
    assert encoder(token_m=120).forward_features(groups(), S2).shape == (2, 9, 128)


def test_every_parameter_gets_a_gradient() -> None:
    own = encoder().train()
    chip = groups()
    chip[20][:, 0] = 0  # one band absent, so that its vector is used
    own.forward_features(chip, S2).square().mean().backward()
    assert [name for name, p in own.named_parameters() if p.grad is None] == []
