"""Clay 1.5 on ten bands of Level-2A, its kernels made once from their wavelengths, without date and place.

Its pretraining sets date and place to zero in a fifth of the chips, and so they are here.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.hypernetwork import WIDTH, kernels_of
from bandloom.public_encoders.plain_vit import PlainViT, on_grid, sines
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
from bandloom.training.device_memory import constant

FAMILY = "clay"
HEAD_DIM = 64
WAVELENGTHS_UM = (0.493, 0.56, 0.665, 0.704, 0.74, 0.783, 0.842, 0.865, 1.61, 2.19)  # in the record's order
KERNEL_SCALE = 0.02
DATE_AND_PLACE = 8  # the last numbers of a position: week, hour, latitude, longitude, two each
TEMPERATURE = 10_000.0
PREFIXES = ("model.encoder.", "encoder.")
LAYER = {  # their names within a layer: ours
    "0.norm.weight": "norm1.weight",
    "0.norm.bias": "norm1.bias",
    "0.to_qkv.weight": "attn.qkv.weight",
    "0.to_out.weight": "attn.proj.weight",
    "1.net.0.weight": "norm2.weight",
    "1.net.0.bias": "norm2.bias",
    "1.net.1.weight": "mlp.fc1.weight",
    "1.net.1.bias": "mlp.fc1.bias",
    "1.net.3.weight": "mlp.fc2.weight",
    "1.net.3.bias": "mlp.fc2.bias",
}


class Clay(PlainViT):
    """Clay 1.5; see the record ``clay.yaml``."""

    family_name, first, norm_eps = FAMILY, 1, 1e-5

    def make_block(self) -> nn.Module:
        """Return one block with random weights."""
        from timm.models.vision_transformer import Block

        return Block(self.config.embed_dim, self.config.num_heads, self.config.mlp_ratio, qkv_bias=False)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return sines and cosines of places, at rates that the sampling in metres multiplies, ``(T, D)``."""
        return constant(self.norm.weight.device, placed, rows, columns, self.embed_dim, self.config.gsd_m)


def placed(rows: int, columns: int, embed_dim: int, gsd_m: int) -> Tensor:
    """Return the position embedding without date and place, ``(T, D)``."""
    width = embed_dim - DATE_AND_PLACE
    steps = torch.arange(width // 4) / (width // 4 - 1)
    rates = gsd_m * TEMPERATURE ** -(2 * steps / width)
    down, across = (sines(torch.arange(side), rates) for side in (rows, columns))
    return functional.pad(on_grid(down, across), (0, DATE_AND_PLACE))


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds the published file."""
    return published_file(folder, FAMILY) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Clay:
    """Read the encoder from the published file; decoder and teacher are left aside.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    family = get_family(FAMILY)
    path, size = require_file(folder, FAMILY)
    require_fixed(family, patch_px, month)
    theirs = without_prefix(read_weights(path), "cls_token", PREFIXES)

    def make() -> tuple[Clay, Mapping[str, Tensor]]:
        width, depth = theirs["cls_token"].shape[-1], depth_of(theirs, "transformer.layers.")
        config = fixed_config(family, size, width, depth, width // HEAD_DIM)
        return Clay(config), _renamed(theirs, depth, family.patch_px)

    return build(path, "Clay 1.5 encoder", make)


def wavelength_sines(wavelengths_um: Tensor) -> Tensor:
    """Return sines and cosines of wavelengths in micrometres, ``(C, 128)``."""
    return sines(wavelengths_um, TEMPERATURE ** -(torch.arange(WIDTH // 2) / (WIDTH // 2 - 1)))


def _renamed(theirs: Mapping[str, Tensor], depth: int, patch_px: int) -> dict[str, Tensor]:
    prefix = "patch_embedding."
    embedding = {name.removeprefix(prefix): v for name, v in theirs.items() if name.startswith(prefix)}
    waves = wavelength_sines(torch.tensor(WAVELENGTHS_UM))
    kernels, bias = kernels_of(embedding, waves, ("l1", "l2"), functional.gelu, "encoder")
    own = {
        f"blocks.{index}.{ours}": theirs[f"transformer.layers.{index}.{name}"]
        for index in range(depth)
        for name, ours in LAYER.items()
    }
    width = theirs["cls_token"].shape[-1]
    own |= {f"blocks.{index}.attn.proj.bias": torch.zeros(width) for index in range(depth)}  # it has none
    weight = kernels.reshape(len(waves), width, patch_px**2).transpose(0, 1).flatten(1)  # (D, C * P * P)
    return own | {
        "embed.project.weight": KERNEL_SCALE * weight,
        "embed.project.bias": bias,
        "embed.first": theirs["cls_token"][0],
        "norm.weight": theirs["transformer.norm.weight"],
        "norm.bias": theirs["transformer.norm.bias"],
    }
