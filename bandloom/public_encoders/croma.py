"""The optical branch of CROMA (Fuller et al. 2023, 2311.00566): attention biased by distance on the ground.

Its authors normalise a batch by the batch's own mean and deviation, so an answer would depend on what else is asked;
here the statistics are those of the record, fixed.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.plain_vit import PlainViT
from bandloom.public_encoders.positioned_block import PositionedBlock
from bandloom.public_encoders.published import (
    build,
    depth_of,
    fixed_config,
    published_file,
    read_weights,
    require_file,
    require_fixed,
)
from bandloom.sensors import Sensor
from bandloom.training.device_memory import constant

FAMILY = "croma"
HEADS = 16  # of both sizes
DEVIATIONS = 2.0  # the input's range is mean +- 2 std
LAYER = {  # their names within a layer: ours
    "0.input_norm.weight": "norm1.weight",
    "0.input_norm.bias": "norm1.bias",
    "0.to_qkv.weight": "attn.qkv.weight",
    "0.to_out.weight": "attn.proj.weight",
    "0.to_out.bias": "attn.proj.bias",
    "1.input_norm.weight": "norm2.weight",
    "1.input_norm.bias": "norm2.bias",
    "1.net.0.weight": "mlp.fc1.weight",
    "1.net.0.bias": "mlp.fc1.bias",
    "1.net.3.weight": "mlp.fc2.weight",
    "1.net.3.bias": "mlp.fc2.bias",
}


class Croma(PlainViT):
    """CROMA base or large, Sentinel-2 alone; see the record ``croma.yaml``."""

    family_name, first, norm_eps = FAMILY, 0, 1e-5

    def make_block(self) -> nn.Module:
        """Return one block with random weights."""
        return PositionedBlock(self.config.embed_dim, self.config.num_heads, self.config.mlp_ratio, bias=False)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return what is added to the attention's scores, ``(heads, T, T)``: distances times a slope a head."""
        return constant(self.norm.weight.device, distance_bias, rows, columns, self.config.num_heads)

    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return the tokens of the image, ``(B, T, D)``; nothing is added to them."""
        return self.embed(samples, None)

    def step(self, index: int, sequence: Tensor, positions: Tensor) -> Tensor:
        """Return what a block makes of ``(B, T, D)``."""
        return self.blocks[index](sequence, bias=positions)


def distance_bias(rows: int, columns: int, heads: int) -> Tensor:
    """Return minus the distance of every two tokens, in tokens, times a slope a head, ``(heads, T, T)``."""
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    distance = (places[:, None] - places[None]).square().sum(-1).sqrt()  # (T, T)
    return -slopes(heads)[:, None, None] * distance


def slopes(heads: int) -> Tensor:
    """Return the slope of each head (ALiBi, Press et al. 2022): a geometric series."""
    start = 2.0 ** (-(2.0 ** -(math.log2(heads) - 3)))
    return torch.tensor([start ** (index + 1) for index in range(heads)])


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds one of the published files."""
    return published_file(folder, FAMILY) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Croma:
    """Read the optical encoder from the published file.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    family = get_family(FAMILY)
    path, size = require_file(folder, FAMILY)
    require_fixed(family, patch_px, month)
    theirs = read_weights(path, ("s2_encoder",))

    def make() -> tuple[Croma, Mapping[str, Tensor]]:
        width, depth = theirs["linear_input.weight"].shape[0], depth_of(theirs, "transformer.layers.")
        pairs = list(zip(family.mean, family.std, strict=True))
        low = tuple(mean - DEVIATIONS * std for mean, std in pairs)
        high = tuple(mean + DEVIATIONS * std for mean, std in pairs)
        divide = tuple(2 * DEVIATIONS * std for std in family.std)
        config = fixed_config(family, size, width, depth, HEADS, shift=low, divide=divide, low=low, high=high)
        return Croma(config), _renamed(theirs, depth)

    return build(path, "optical encoder of CROMA", make)


def _renamed(theirs: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    own = {
        f"blocks.{index}.{ours}": theirs[f"transformer.layers.{index}.{name}"]
        for index in range(depth)
        for name, ours in LAYER.items()
    }
    return own | {
        "embed.project.weight": theirs["linear_input.weight"],
        "embed.project.bias": theirs["linear_input.bias"],
        "norm.weight": theirs["transformer.norm_out.weight"],
        "norm.bias": theirs["transformer.norm_out.bias"],
    }
