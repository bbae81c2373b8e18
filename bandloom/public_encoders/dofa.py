"""DOFA (Xiong et al. 2024, 2403.15356) on nine bands of Level-1C, its kernels made once from their wavelengths.

Its convolution pads the image by one pixel, so a patch starts one pixel above and left of its token.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from bandloom.model.embedding import patchify, unpatchify
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.hypernetwork import WIDTH, kernels_of
from bandloom.public_encoders.plain_vit import PlainViT, renamed_blocks, resized_table, sines
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
from bandloom.sensors import Sensor

FAMILY = "dofa"
BASE_SIDE = 14  # tokens a side of the position table, 224 pixels in patches of 16
HEAD_DIM = 64
WAVELENGTHS_NM = (665.0, 560.0, 490.0, 705.0, 740.0, 783.0, 842.0, 1610.0, 2190.0)  # in the record's order
KERNEL_SCALE = 0.01


class Dofa(PlainViT):
    """DOFA base or large; see the record ``dofa.yaml``."""

    family_name, first, norm_eps = FAMILY, 1, 1e-6
    table: Tensor

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        super().__init__(config, statistics)
        self.register_buffer("table", torch.zeros(BASE_SIDE**2, config.embed_dim))  # fixed in pretraining

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the table of positions brought to a grid of tokens, bicubic, ``(T, D)``."""
        if rows == columns == BASE_SIDE:
            return self.table
        return resized_table(self.table, rows, columns, antialias=True)

    def samples(self, groups: Mapping[int, Tensor], sensor: Sensor) -> tuple[Tensor, Tensor]:
        """Return the input cut into patches, each one pixel above and left of its token; see the base class."""
        samples, valid = super().samples(groups, sensor)
        rows, _ = self.grid(groups)
        return self._moved(samples, rows), self._moved(valid.float(), rows) > 0

    def _moved(self, samples: Tensor, rows: int) -> Tensor:
        side = self.config.patch_px
        image = functional.pad(unpatchify(samples, side, rows), (1, 0, 1, 0))  # zeros, as the convolution pads
        return patchify(image[..., :-1, :-1], side)


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds one of the published files."""
    return published_file(folder, FAMILY) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Dofa:
    """Read the encoder from the published file.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    family = get_family(FAMILY)
    path, size = require_file(folder, FAMILY)
    require_fixed(family, patch_px, month)
    theirs = read_weights(path)

    def make() -> tuple[Dofa, Mapping[str, Tensor]]:
        width = theirs["cls_token"].shape[-1]
        depth = depth_of(theirs)
        shape = (width, depth, width // HEAD_DIM)
        config = fixed_config(family, size, *shape, low=(0.0,) * len(family.bands), high=eight_bit_range())
        return Dofa(config), _renamed(theirs, depth, family.patch_px)

    return build(path, "DOFA encoder", make)


def eight_bit_range() -> tuple[float, ...]:
    """Return the value of reflectance * 10000 that 255 stands for in its pretraining images, by band."""
    return tuple(3558.0 if band < 3 else 8160.0 for band in range(len(WAVELENGTHS_NM)))  # the true-colour image, others


def wavelength_sines(wavelengths_nm: Tensor) -> Tensor:
    """Return sines and cosines of wavelengths, ``(C, 128)``."""
    return sines(wavelengths_nm, 10000.0 ** -(torch.arange(WIDTH // 2) / (WIDTH / 2)))


def _renamed(theirs: Mapping[str, Tensor], depth: int, patch_px: int) -> dict[str, Tensor]:
    embedding = {name.removeprefix("patch_embed."): v for name, v in theirs.items() if name.startswith("patch_embed.")}
    waves = wavelength_sines(torch.tensor(WAVELENGTHS_NM))
    kernels, bias = kernels_of(embedding, waves, ("w1", "w2"), torch.relu, "transformer_encoder")
    bands, width = len(waves), theirs["cls_token"].shape[-1]
    weight = kernels.reshape(bands, patch_px**2, width).permute(2, 0, 1).flatten(1)  # (D, C * P * P)
    norm = next((name for name in ("norm", "fc_norm") if f"{name}.weight" in theirs), None)
    table = theirs["pos_embed"][0]
    return renamed_blocks(theirs, depth) | {
        "embed.project.weight": KERNEL_SCALE * weight,
        "embed.project.bias": KERNEL_SCALE * bias,
        "embed.first": theirs["cls_token"][0] + table[:1],
        "table": table[1:],
        "norm.weight": torch.ones(width) if norm is None else theirs[f"{norm}.weight"],
        "norm.bias": torch.zeros(width) if norm is None else theirs[f"{norm}.bias"],
    }
