"""DINOv3 ViT-L/16 pretrained on satellite images (Siméoni et al. 2025, 2508.10104): red, green and blue alone.

Queries and keys are turned by the place in the image, between -1 and 1 from border to border whatever its size. The
scales of its layers (LayerScale) are folded into the matrices before them.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bandloom.errors import CheckpointError
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.plain_vit import PlainViT
from bandloom.public_encoders.positioned_block import PositionedBlock
from bandloom.public_encoders.published import build, depth_of, fixed_config, read_weights, require_fixed
from bandloom.sensors import Sensor
from bandloom.training.device_memory import constant

FAMILY = "dinov3"
META_FILE = "dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth"  # as Meta gives it after its form; names differ
HUB_FILE, HUB_CONFIG, HUB_TYPE = "model.safetensors", "config.json", "dinov3_vit"
HEAD_DIM = 64
REGISTERS = 4
ROPE_BASE = 100.0
WHITE = 3558.0  # reflectance * 10000 that 255 stands for in Sentinel-2's true-colour image


class Dinov3(PlainViT):
    """DINOv3-sat ViT-L/16; see the record ``dinov3.yaml``."""

    family_name, first, norm_eps = FAMILY, 1 + REGISTERS, 1e-5

    def make_block(self) -> nn.Module:
        """Return one block with random weights."""
        return PositionedBlock(self.config.embed_dim, self.config.num_heads, self.config.mlp_ratio)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return cosines and sines of places, ``(2, 1, P + T, D / H / 2)``; tokens in front are not turned."""
        head = self.config.embed_dim // self.config.num_heads
        return constant(self.norm.weight.device, turned_by_place, rows, columns, head, self.first)

    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return the tokens in front and those of the image, ``(B, P + T, D)``; nothing is added to them."""
        return self.embed(samples, None)

    def step(self, index: int, sequence: Tensor, positions: Tensor) -> Tensor:
        """Return what a block makes of ``(B, P + T, D)``."""
        return self.blocks[index](sequence, turn=positions)


def turned_by_place(rows: int, columns: int, head: int, first: int) -> Tensor:
    """Return cosines and sines of places in heads of width ``head``, behind ``first`` tokens without a place."""
    y, x = (2 * (torch.arange(side) + 0.5) / side - 1 for side in (rows, columns))
    rates = ROPE_BASE ** -(torch.arange(head // 4) * 4 / head)
    angles = 2 * math.pi * torch.cartesian_prod(y, x)[:, :, None] * rates  # (T, 2, head / 4)
    angles = torch.cat([torch.zeros(first, head // 2), angles.flatten(1)])[None]
    return torch.stack([angles.cos(), angles.sin()])


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds the encoder, in Meta's format or the hub's."""
    return _file(folder) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Dinov3:
    """Read the encoder from Meta's file or the hub's.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    family, path = get_family(FAMILY), _file(folder)
    if path is None:
        raise CheckpointError(f"{folder} holds none of the files of {FAMILY}; see `bandloom encoder show {FAMILY}`.")
    require_fixed(family, patch_px, month)
    theirs = read_weights(path)

    def make() -> tuple[Dinov3, Mapping[str, Tensor]]:
        plain = theirs if "cls_token" in theirs else _from_hub(theirs)
        width, depth = plain["cls_token"].shape[-1], depth_of(plain)
        bounds = {"low": (0.0,) * len(family.bands), "high": (WHITE,) * len(family.bands)}
        config = fixed_config(family, "vitl16", width, depth, width // HEAD_DIM, **bounds)
        return Dinov3(config), _renamed(plain, depth)

    return build(path, "DINOv3 ViT with four registers", make)


def _file(folder: Path) -> Path | None:
    if (folder / META_FILE).is_file():
        return folder / META_FILE
    try:
        kind = json.loads((folder / HUB_CONFIG).read_text()).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return folder / HUB_FILE if kind == HUB_TYPE and (folder / HUB_FILE).is_file() else None


def _from_hub(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the hub's weights under Meta's names."""
    layers = "model.layer." if "model.layer.0.norm1.weight" in theirs else "layer."
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.register_tokens": "storage_tokens",
        "embeddings.patch_embeddings.weight": "patch_embed.proj.weight",
        "embeddings.patch_embeddings.bias": "patch_embed.proj.bias",
        "norm.weight": "norm.weight",
        "norm.bias": "norm.bias",
    }
    plain = {ours: theirs[name] for name, ours in names.items()}
    parts = {"norm1": "norm1", "norm2": "norm2", "attention.o_proj": "attn.proj", "mlp.up_proj": "mlp.fc1"}
    for index in range(depth_of(theirs, layers)):
        given, wanted = f"{layers}{index}.", f"blocks.{index}."
        for kind in ("weight", "bias"):
            for name, ours in (parts | {"mlp.down_proj": "mlp.fc2"}).items():
                plain[f"{wanted}{ours}.{kind}"] = theirs[f"{given}{name}.{kind}"]
        query, key, value = (f"{given}attention.{name}_proj" for name in "qkv")
        plain[f"{wanted}attn.qkv.weight"] = torch.cat([theirs[f"{name}.weight"] for name in (query, key, value)])
        no_key = torch.zeros_like(theirs[f"{query}.bias"])
        plain[f"{wanted}attn.qkv.bias"] = torch.cat([theirs[f"{query}.bias"], no_key, theirs[f"{value}.bias"]])
        for layer in "12":
            plain[f"{wanted}ls{layer}.gamma"] = theirs[f"{given}layer_scale{layer}.lambda1"]
    return plain


def _renamed(theirs: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Return weights under our names, layer scales folded in and keys without a bias."""
    own = {}
    for index in range(depth):
        block = f"blocks.{index}."
        for kind in ("weight", "bias"):
            for part in ("norm1", "norm2", "mlp.fc1", "attn.qkv"):
                own[f"{block}{part}.{kind}"] = theirs[f"{block}{part}.{kind}"]
            for part, layer in (("attn.proj", "ls1"), ("mlp.fc2", "ls2")):
                scale = theirs[f"{block}{layer}.gamma"]
                given = theirs[f"{block}{part}.{kind}"]
                own[f"{block}{part}.{kind}"] = given * (scale[:, None] if given.ndim == 2 else scale)
        query, key, value = own[f"{block}attn.qkv.bias"].chunk(3)
        own[f"{block}attn.qkv.bias"] = torch.cat([query, torch.zeros_like(key), value])  # masked there
    return own | {
        "embed.project.weight": theirs["patch_embed.proj.weight"].flatten(1),
        "embed.project.bias": theirs["patch_embed.proj.bias"],
        "embed.first": torch.cat([theirs["cls_token"][0], theirs["storage_tokens"][0]]),
        "norm.weight": theirs["norm.weight"],
        "norm.bias": theirs["norm.bias"],
    }
