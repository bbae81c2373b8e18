"""Rotary positions (RoPE): by how much the queries and keys of a token are turned, in metres of ground."""

import torch
from torch import Tensor

from bandloom.sensors import REFERENCE_TOKEN_M

ROTARY_BASE = 100.0  # as DINOv3 and RoPE-ViT have it: the slowest rate is a hundredth of the fastest


def rotary_embedding(rows: int, columns: int, head_dim: int, token_m: int) -> Tensor:
    """Return sines and cosines that rotate the queries and keys of token centres, ``(rows * columns, 2 * head_dim)``.

    Axial: a quarter of a head's pairs turn by one axis at each rate, one radian every 60 m of ground at the fastest and
    every 6 km at the slowest, whatever ``token_m`` (Su et al. 2021; in two dimensions Heo et al. 2024, section 3.2).
    """
    rate = ROTARY_BASE ** -(torch.arange(head_dim // 4) / (head_dim / 4))
    unit = token_m / REFERENCE_TOKEN_M
    y, x = ((torch.arange(count) + 0.5) * unit for count in (rows, columns))
    angles = (torch.cartesian_prod(y, x)[:, :, None] * rate).flatten(1)  # (T, head_dim / 2)
    return torch.cat([angles.sin(), angles.sin(), angles.cos(), angles.cos()], dim=1)
