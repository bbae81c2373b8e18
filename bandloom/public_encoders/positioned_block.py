"""A transformer block that is told where tokens lie: by a bias of its attention, or by rotating queries and keys.

Positions reach it as a tensor of constants, so that an exported graph holds them; the softmax stays in fp32 between
layers in 16 bits.
"""

from typing import Any

import torch
from torch import Tensor, nn


class PositionedAttention(nn.Module):
    """Self-attention over ``(B, N, D)`` with places.

    Args:
        width: D.
        heads: H.
        bias: whether queries, keys and values have one.
    """

    def __init__(self, width: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None, turn: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: ``(B, N, D)``.
            bias: added to the scores, ``(H, N, N)``.
            turn: cosines and sines, ``(2, H or 1, N, D / H / 2)``, by which queries and keys are turned.
        """
        b, n, _ = x.shape
        query, key, value = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(attend(query, key, value, self.scale, bias, turn, turn))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    bias: Tensor | None = None,
    turn: Tensor | None = None,
    turn_keys: Tensor | None = None,
) -> Tensor:
    """Return softmax(query key^T scale + bias) value, heads side by side, ``(B, N, D)``.

    Args:
        query: ``(B, H, N, D / H)``.
        key: ``(B, H, M, D / H)``.
        value: likewise.
        scale: of the scores.
        bias: ``(H, N, M)``.
        turn: of the queries.
        turn_keys: of the keys.
    """
    if turn is not None and turn_keys is not None:
        query, key = turned(query, turn), turned(key, turn_keys)
    scores = ((query * scale) @ key.transpose(-2, -1)).float()  # (B, H, N, M); scaled first, so 16 bits hold it
    scores = scores if bias is None else scores + bias.float()
    mixed = scores.softmax(dim=-1).to(value.dtype) @ value
    return mixed.transpose(1, 2).flatten(2)


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs (i, i + half) of the last axis of ``(B, H, N, D / H)`` by cosines and sines (RoPE)."""
    cos, sin = turn.to(x.dtype).unbind(0)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class PositionedBlock(nn.Module):
    """Norm, attention, norm and two linear layers, each pair beside a shortcut, under timm's names.

    Args:
        width: D.
        heads: H.
        mlp_ratio: width of the hidden layer over D.
        bias: whether queries, keys and values have one.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0, *, bias: bool = True) -> None:
        from timm.layers import Mlp

        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = PositionedAttention(width, heads, bias=bias)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, **places: Any) -> Tensor:
        """Return the next ``(B, N, D)``; see :meth:`PositionedAttention.forward` for ``places``."""
        x = x + self.attn(self.norm1(x), **places)
        return x + self.mlp(self.norm2(x))


class KeptWide(nn.Module):
    """A tensor that 16-bit models leave in fp32: rates of turning, whose error grows with the distance."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)
