"""The attention pooler of OlmoEarth v1.3: one learned query a token of ground reads all tokens, then they mix."""

import torch
from torch import Tensor, nn

from bandloom.public_encoders.positioned_block import PositionedBlock, attend

ROPE_BASE = 10_000.0


class AttentionPooler(nn.Module):
    """Reads ``(B, T, D)`` by a query that is the same everywhere but for its place.

    Args:
        width: D.
        heads: H.
        mlp_ratio: width of the hidden layers over D.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        from timm.layers import Mlp

        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.query = nn.Parameter(0.02 * torch.randn(1, width))
        self.input_norm, self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked, self.held = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.proj, self.mlp = nn.Linear(width, width), Mlp(width, int(width * mlp_ratio))
        self.mix = PositionedBlock(width, heads, mlp_ratio)

    def forward(self, tokens: Tensor, turn: Tensor) -> Tensor:
        """Return what the queries read, before the last norm, ``(B, T, D)``.

        Args:
            tokens: normalised, ``(B, T, D)``.
            turn: cosines and sines of their places, ``(2, H, T, D / H / 2)``.
        """
        b, t, _ = tokens.shape
        asked = self.query.expand(t, -1)
        query = self.asked(self.norm1(asked)).reshape(1, t, self.heads, -1).transpose(1, 2)  # the same for every chip
        held = self.held(self.input_norm(tokens)).reshape(b, t, 2, self.heads, -1)
        key, value = held.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D / H)
        seen = asked + self.proj(attend(query, key, value, self.scale, None, turn, turn))
        seen = seen + self.mlp(self.norm2(seen))
        return self.mix(seen, turn=turn)


def axial_turn(places: Tensor, head: int) -> Tensor:
    """Return cosines and sines of rows, then columns, at a geometric series of rates, ``(2, 1, T, head / 2)``.

    Args:
        places: rows and columns, ``(T, 2)``.
        head: width of a head.
    """
    half = head // 2
    rates = ROPE_BASE ** -(torch.arange(0, half, 2).to(places) / half)
    angles = (places[:, :, None] * rates).flatten(1)[None]  # (1, T, half)
    return torch.stack([angles.cos(), angles.sin()])
