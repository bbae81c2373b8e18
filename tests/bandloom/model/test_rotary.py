"""Rotary positions: queries and keys turned by metres of ground, against a loop over tokens and pairs."""

import math

import numpy as np
import pytest
import torch

from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig, count_parameters, take_tokens
from bandloom.model.rotary import rotary_embedding
from bandloom.model.statistics import Statistics
from bandloom.sensors import SLOTS, get_sensor

STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.05))
S2 = get_sensor("sentinel2-l1c")
HEAD = 64


def encoder(**changes: object) -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderConfig.of_size("demo", positions="rotary", **changes), STATISTICS).eval()


def chips(side_m: int = 360) -> dict[int, torch.Tensor]:
    rng = np.random.default_rng(0)
    return {
        g.gsd_m: torch.from_numpy(
            rng.integers(1500, 3500, (2, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m)).astype(np.uint16)
        )
        for g in S2.groups
    }


def turned(vector: list[float], y_m: float, x_m: float) -> list[float]:
    """Turn the pairs (i, i + half) of a head, the first half of them by y and the rest by x, one by one."""
    half, quarter, out = HEAD // 2, HEAD // 4, list(vector)
    for pair in range(half):
        metres, rate = (y_m if pair < quarter else x_m), 100.0 ** -((pair % quarter) / quarter)
        angle = metres / 60 * rate
        first, second = vector[pair], vector[pair + half]
        out[pair] = first * math.cos(angle) - second * math.sin(angle)
        out[pair + half] = second * math.cos(angle) + first * math.sin(angle)
    return out


def test_attention_is_that_of_a_loop_over_heads_tokens_and_pairs():
    own, rows, columns = encoder(), 2, 3
    attention, x = own.blocks[0].attn, torch.randn(1, rows * columns, 128)
    with torch.no_grad():
        query, key, value = attention.qkv(x)[0].unflatten(1, (3, 2, HEAD)).unbind(1)  # (N, H, 64) each
        mixed, places = (
            torch.zeros(rows * columns, 128),
            [(60 * (n // 3) + 30.0, 60 * (n % 3) + 30.0) for n in range(6)],
        )
        for head in range(2):
            asked = [turned(query[n, head].tolist(), *place) for n, place in enumerate(places)]
            told = [turned(key[n, head].tolist(), *place) for n, place in enumerate(places)]
            for n in range(6):
                scores = [sum(a * b for a, b in zip(asked[n], told[m], strict=True)) / HEAD**0.5 for m in range(6)]
                weights = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
                mixed[n, HEAD * head : HEAD * (head + 1)] = sum(weights[m] * value[m, head] for m in range(6))
        answer = attention(x, own.positions(rows, columns))[0]
        torch.testing.assert_close(answer, attention.proj(mixed), atol=2e-5, rtol=1e-4)


def test_attention_knows_offsets_alone_and_added_positions_do_not():
    """Every other place of a shifted grid gives the same answer."""
    tokens, moved = torch.randn(1, 12, 128), {}
    for positions in ("rotary", "added"):
        torch.manual_seed(0)
        own = Encoder(EncoderConfig.of_size("demo", positions=positions), STATISTICS).eval()
        grid = own.positions(9, 9).reshape(9, 9, -1)
        with torch.no_grad():
            answers = [
                list(own.through_blocks(tokens, place.reshape(12, -1)))[-1] for place in (grid[:3, :4], grid[4:7, 5:])
            ]
        moved[positions] = float((answers[0] - answers[1]).abs().max())
    assert moved["rotary"] < 1e-4 < 1e-2 < moved["added"]


@pytest.mark.parametrize("token_m", [120, 240])
def test_positions_are_metres_of_ground_whatever_a_token_covers(token_m: int):
    """A token of 120 m lies where the corner of four of 60 m is: at the mean of their angles."""
    fine, times = rotary_embedding(8, 8, HEAD, 60), token_m // 60
    coarse = rotary_embedding(8 // times, 8 // times, HEAD, token_m)
    angles = [torch.atan2(held[:, 31], held[:, HEAD + 31]) for held in (fine, coarse)]  # x at the slowest rate
    torch.testing.assert_close(angles[0].reshape(8, 8 // times, times).mean(2)[0], angles[1][: 8 // times])


def test_a_selection_of_tokens_keeps_its_places():
    own = encoder()
    samples, valid = own.samples(chips(), S2)
    places, ids = own.positions(6, 6), torch.tensor([[3, 0, 17, 35], [5, 9, 1, 30]])
    part = [take_tokens(held, ids) for held in (samples, valid)]
    with torch.no_grad():
        both = own.forward_tokens(*part, S2, places[ids])
        for row in (0, 1):
            alone = own.forward_tokens(part[0][row : row + 1], part[1][row : row + 1], S2, places[ids[row]])
            torch.testing.assert_close(both[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_weights_are_as_many_and_named_as_with_added_positions_and_come_back(tmp_path):
    own, added = encoder(stem_filters=8), Encoder(EncoderConfig.of_size("demo", stem_filters=8), STATISTICS)
    assert list(own.state_dict()) == list(added.state_dict())
    assert count_parameters(own) == count_parameters(added)
    save_encoder(tmp_path / "checkpoint", own, [S2], {})
    again = load_encoder(tmp_path / "checkpoint").eval()
    assert again.config.positions == "rotary"
    with torch.no_grad():
        assert torch.equal(again.forward_features(chips(), S2), own.forward_features(chips(), S2))


def test_intermediates_end_with_the_features():
    own = encoder()
    with torch.no_grad():
        first, last = own.forward_intermediates(chips(), S2, [0, 3])
        torch.testing.assert_close(last, own.forward_features(chips(), S2))
    assert not torch.allclose(first, last)


def test_a_head_that_cannot_be_turned_by_two_axes_is_refused():
    with pytest.raises(ValueError, match="multiple of 4 x num_heads"):
        EncoderConfig(embed_dim=24, num_heads=4, positions="rotary")
