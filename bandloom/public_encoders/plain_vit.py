"""Vision transformers whose only peculiarities are tokens in front of the image's and a table of positions."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.public_encoder import PublicConfig, PublicEncoder, SlotStatistics, own_statistics
from bandloom.sensors import Sensor
from bandloom.training.device_memory import constant

CUBIC, CUBIC_ANTIALIASED = -0.75, -0.5  # of torch's bicubic interpolation without and with antialiasing


class PlainEmbedding(SlotStatistics):
    """Pixels of a patch to one vector, behind tokens that stand for no ground.

    Args:
        config: its shape.
        statistics: of reflectance by slot, for heads.
        bands: of the input.
        first: P, the tokens in front (class and registers), their positions included.
    """

    def __init__(self, config: PublicConfig, statistics: Statistics, bands: int, first: int) -> None:
        super().__init__(statistics)
        self.project = nn.Linear(bands * config.patch_px**2, config.embed_dim)
        self.first = nn.Parameter(0.02 * torch.randn(first, config.embed_dim)) if first else None

    def forward(self, samples: Tensor, positions: Tensor | None) -> Tensor:
        """Return ``(B, P + T, D)`` of samples ``(B, T, S)`` and what is added to them, ``(T, D)`` or nothing."""
        tokens = self.project(samples)
        tokens = tokens if positions is None else tokens + positions
        if self.first is None:
            return tokens
        return torch.cat([self.first.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens], dim=1)


class PlainViT(PublicEncoder):
    """Base of families whose sequence is P tokens and then the image's, row by row.

    Attributes:
        family_name: of the record.
        first: P.
        norm_eps: of the layer norms.
    """

    family_name: str
    first: int
    norm_eps: float

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        family = get_family(self.family_name)
        embedding = PlainEmbedding(config, statistics or own_statistics(config, family), len(family.bands), self.first)
        super().__init__(config, statistics, embedding, self.norm_eps)

    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return the tokens in front and those of the image, ``(B, P + T, D)``."""
        return self.embed(samples, positions)

    def to_tokens(self, sequence: Tensor, tokens: int) -> Tensor:
        """Return the tokens of the image, ``(B, T, D)``."""
        return sequence[:, self.first :]


def cubic_weights(given: int, wanted: int, antialias: bool = False, corners: bool = False) -> np.ndarray:
    """Return the matrix of torch's bicubic interpolation along one axis, ``(wanted, given)`` float32.

    Args:
        given: samples that are there.
        wanted: samples of the result.
        antialias: widen the kernel where samples become fewer.
        corners: the first and last samples stay where they are (``align_corners``).
    """
    if corners:
        centre = np.arange(wanted) * ((given - 1) / max(wanted - 1, 1))
    else:
        centre = (np.arange(wanted) + 0.5) * (given / wanted) - 0.5
    if antialias:
        distance = np.abs(np.arange(given)[None] - centre[:, None]) / max(given / wanted, 1.0)
        weight = _cubic(distance, CUBIC_ANTIALIASED)
        return (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    weight = np.zeros((wanted, given))
    for offset in range(-1, 3):  # four neighbours; those beyond the border are the border's
        place = np.floor(centre).astype(int) + offset
        weight[np.arange(wanted), place.clip(0, given - 1)] += _cubic(np.abs(centre - place), CUBIC)
    return weight.astype(np.float32)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Return Keys's cubic kernel (1981) at distances from 0."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


def resized_table(table: Tensor, rows: int, columns: int, *, antialias: bool = False, corners: bool = False) -> Tensor:
    """Return a square table of positions ``(N * N, D)`` on another grid, bicubic, ``(rows * columns, D)``.

    Args:
        table: of N rows of N.
        rows: of the result.
        columns: likewise.
        antialias: see :func:`cubic_weights`.
        corners: likewise.
    """
    side = math.isqrt(table.shape[0])
    square = table.unflatten(0, (side, side)).permute(2, 0, 1)  # (D, N, N)
    down, across = (
        constant(table.device, cubic_weights, side, wanted, antialias, corners).to(table.dtype)
        for wanted in (rows, columns)
    )
    return (down @ square @ across.T).flatten(1).T


def sines(places: Tensor, rates: Tensor) -> Tensor:
    """Return sines, then cosines, of ``(N,)`` places at ``(R,)`` rates, ``(N, 2 R)`` in float32."""
    angle = places.double()[:, None] * rates.double()
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def on_grid(down: Tensor, across: Tensor, order: str = "xy") -> Tensor:
    """Return ``(rows * columns, R + C)`` of what stands for rows ``(rows, R)`` and columns ``(columns, C)``.

    Args:
        down: for each row.
        across: for each column.
        order: which of the two comes first, ``xy`` (columns) or ``yx``.
    """
    rows, columns = down.shape[0], across.shape[0]
    y, x = down[:, None].expand(-1, columns, -1), across[None].expand(rows, -1, -1)
    return torch.cat([x, y] if order == "xy" else [y, x], dim=-1).flatten(0, 1)


def renamed_blocks(
    theirs: Mapping[str, Tensor], depth: int, prefix: str = "blocks.", parts: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Return the blocks' weights that bear timm's names, under ours.

    Args:
        theirs: all weights.
        depth: of the encoder.
        prefix: in front of a block's number.
        parts: the modules of a block; timm's where none are named.

    Raises:
        KeyError: a weight is missing.
    """
    parts = parts or ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    return {
        f"blocks.{index}.{part}.{kind}": theirs[f"{prefix}{index}.{part}.{kind}"]
        for index in range(depth)
        for part in parts
        for kind in ("weight", "bias")
    }
