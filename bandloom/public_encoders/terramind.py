"""TerraMind 1.0 (Jakubik et al. 2025, 2504.11171), Sentinel-2 alone: twelve bands of Level-2A.

``terramind_l1c`` is the same network with its embedding of thirteen bands of Level-1C; both lie in one file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.plain_vit import PlainViT, resized_table
from bandloom.public_encoders.public_encoder import PublicConfig
from bandloom.public_encoders.published import (
    build,
    depth_of,
    fixed_config,
    published_file,
    read_weights,
    require_file,
    require_fixed,
)

FAMILY = "terramind"
MODALITIES = {"terramind": "untok_sen2l2a@224", "terramind_l1c": "untok_sen2l1c@224"}
BASE_SIDE = 14  # tokens a side of the position table, 224 pixels in patches of 16
HEAD_DIM = 64
MATRICES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "mlp.fc3")


class GatedMlp(nn.Module):
    """Two linear layers, the first one gated (SwiGLU, Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc3 = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, N, D)``."""
        return self.fc2(functional.silu(self.fc1(x)) * self.fc3(x))


class GatedBlock(nn.Module):
    """A transformer block with a gated hidden layer and no biases."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        from timm.layers import Attention

        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, qkv_bias=False, proj_bias=False)
        self.mlp = GatedMlp(width, int(2 * int(width * mlp_ratio) / 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the next ``(B, N, D)``."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TerraMind(PlainViT):
    """TerraMind tiny to large on Level-2A; see the record ``terramind.yaml``."""

    family_name, first, norm_eps = FAMILY, 0, 1e-6
    table: Tensor

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        super().__init__(config, statistics)
        self.register_buffer("table", torch.zeros(BASE_SIDE**2, config.embed_dim))  # fixed in pretraining

    def make_block(self) -> nn.Module:
        """Return one block with random weights."""
        return GatedBlock(self.config.embed_dim, self.config.num_heads, self.config.mlp_ratio)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the table of positions brought to a grid of tokens, bicubic, ``(T, D)``."""
        if rows == columns == BASE_SIDE:
            return self.table
        return resized_table(self.table, rows, columns)


Network = TypeVar("Network", bound=TerraMind)


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds one of the published files."""
    return published_file(folder, FAMILY) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> TerraMind:
    """Read the encoder of Level-2A from the published file; other modalities and the decoder are left aside.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    return read_modality(TerraMind, folder, patch_px, month)


def read_modality(kind: type[Network], folder: Path, patch_px: int | None, month: int | None) -> Network:
    """Read the encoder of one product level; see :func:`read`."""
    family = get_family(kind.family_name)
    path, size = require_file(folder, family.family)
    require_fixed(family, patch_px, month)
    theirs = read_weights(path)

    def make() -> tuple[Network, Mapping[str, Tensor]]:
        width, depth = theirs["encoder_norm.weight"].shape[0], depth_of(theirs, "encoder.")
        config = fixed_config(family, size, width, depth, width // HEAD_DIM)
        embedding = f"encoder_embeddings.{MODALITIES[family.family]}."
        return kind(config), _renamed(theirs, depth, embedding, len(family.bands))

    return build(path, "TerraMind encoder", make)


def _renamed(theirs: Mapping[str, Tensor], depth: int, embedding: str, bands: int) -> dict[str, Tensor]:
    width = theirs["encoder_norm.weight"].shape[0]
    own = {}
    for index in range(depth):
        own |= {f"blocks.{index}.{name}.weight": theirs[f"encoder.{index}.{name}.weight"] for name in MATRICES}
        for name in ("norm1", "norm2"):
            own[f"blocks.{index}.{name}.weight"] = theirs[f"encoder.{index}.{name}.weight"]
            own[f"blocks.{index}.{name}.bias"] = torch.zeros(width)  # it has none
    kernels = theirs[f"{embedding}proj.weight"].unflatten(1, (-1, bands))  # (D, P * P, C): channels last there
    return own | {
        "embed.project.weight": kernels.transpose(1, 2).flatten(1),
        "embed.project.bias": theirs[f"{embedding}mod_emb"].flatten(),
        "table": theirs[f"{embedding}pos_emb"][0],
        "norm.weight": theirs["encoder_norm.weight"],
        "norm.bias": torch.zeros(width),
    }
