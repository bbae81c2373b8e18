"""Prithvi-EO-2 (Szwarcman et al. 2024, 2412.02732) on one date of six HLS bands at 30 m.

The variants with time and place (TL) drop both at random in pretraining, so without them they are what they were.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bandloom.errors import CheckpointError
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.plain_vit import PlainViT, renamed_blocks, resized_table
from bandloom.public_encoders.public_encoder import PublicConfig
from bandloom.public_encoders.published import (
    build,
    depth_of,
    fixed_config,
    published_file,
    read_weights,
    require_file,
    require_fixed,
    without_prefix,
)

FAMILY = "prithvi"
SIDE_PX = 224  # of pretraining's chips
HEADS = {1024: 16, 1280: 16}  # by width; 64 wide in the smaller ones


class Prithvi(PlainViT):
    """Prithvi-EO-2.0, its encoder; see the record ``prithvi.yaml``."""

    family_name, first, norm_eps = FAMILY, 1, 1e-5
    table: Tensor

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        super().__init__(config, statistics)
        self.base_side = SIDE_PX // config.patch_px
        self.register_buffer("table", torch.zeros(self.base_side**2, config.embed_dim))  # fixed in pretraining

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the table of the first date brought to a grid of tokens, bicubic corner to corner, ``(T, D)``."""
        if rows == columns == self.base_side:
            return self.table
        return resized_table(self.table, rows, columns, corners=True)


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds one of the published files."""
    return published_file(folder, FAMILY) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Prithvi:
    """Read the encoder from the published file; its decoder is left aside.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    family = get_family(FAMILY)
    path, size = require_file(folder, FAMILY)
    require_fixed(family, patch_px, month)
    theirs = without_prefix(read_weights(path), "cls_token", ("encoder.",))

    def make() -> tuple[Prithvi, Mapping[str, Tensor]]:
        kernels = theirs["patch_embed.proj.weight"]
        width, patch = kernels.shape[0], kernels.shape[-1]
        if patch_px not in (None, patch):
            raise CheckpointError(f"{path} takes patches of {patch} pixels, not of {patch_px}; leave it out.")
        heads = HEADS.get(width, max(width // 64, 1))
        config = fixed_config(family, size, width, depth_of(theirs), heads, patch_px=patch)
        return Prithvi(config), _renamed(theirs, config)

    return build(path, "Prithvi-EO-2 encoder", make)


def _renamed(theirs: Mapping[str, Tensor], config: PublicConfig) -> dict[str, Tensor]:
    table = theirs["pos_embed"][0]
    tokens = (SIDE_PX // config.patch_px) ** 2
    return renamed_blocks(theirs, config.depth) | {
        "embed.project.weight": theirs["patch_embed.proj.weight"].flatten(1),
        "embed.project.bias": theirs["patch_embed.proj.bias"],
        "embed.first": theirs["cls_token"][0] + table[:1],
        "table": table[1 : 1 + tokens],
        "norm.weight": theirs["norm.weight"],
        "norm.bias": theirs["norm.bias"],
    }
