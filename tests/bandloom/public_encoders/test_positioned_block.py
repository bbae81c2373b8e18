"""Attention with places, against plain loops."""

import math

import pytest
import torch

from bandloom.public_encoders.positioned_block import PositionedAttention, attend, turned


def test_attention_is_that_of_a_loop_over_heads_and_tokens_with_its_bias():
    torch.manual_seed(0)
    attention, bias = PositionedAttention(8, 2), torch.randn(2, 5, 5)
    x = torch.randn(1, 5, 8)
    with torch.no_grad():
        query, key, value = attention.qkv(x)[0].unflatten(1, (3, 2, 4)).unbind(1)  # (N, H, 4) each
        mixed = torch.zeros(5, 8)
        for head in range(2):
            for n in range(5):
                scores = [float(query[n, head] @ key[m, head]) / 2 + float(bias[head, n, m]) for m in range(5)]
                weights = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
                for m in range(5):
                    mixed[n, 4 * head : 4 * head + 4] += weights[m] * value[m, head]
        torch.testing.assert_close(attention(x, bias=bias)[0], attention.proj(mixed), atol=1e-5, rtol=1e-5)


def test_pairs_are_turned_by_their_angle():
    x, angle = torch.tensor([1.0, 0.0, 0.0, 2.0]).reshape(1, 1, 1, 4), torch.tensor([math.pi / 2, math.pi])
    turn = torch.stack([angle.cos(), angle.sin()]).reshape(2, 1, 1, 2)
    torch.testing.assert_close(turned(x, turn).flatten(), torch.tensor([0.0, 0.0, 1.0, -2.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shift", [0.3, 300.0])
def test_what_turns_all_tokens_alike_changes_nothing(shift):
    """So a date that all tokens share needs no place in an exported graph (OlmoEarth from v1.2 on)."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 6, 4).unbind(0)
    angles = torch.randn(2, 6, 2, dtype=torch.float64)

    def answer(by: float) -> torch.Tensor:
        turn = torch.stack([(angles + by).cos(), (angles + by).sin()])
        return attend(query.double(), key.double(), value.double(), 0.5, None, turn, turn)

    torch.testing.assert_close(answer(shift), answer(0.0), atol=1e-6, rtol=1e-6)
