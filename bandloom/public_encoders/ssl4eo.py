"""SSL4EO-S12's ViT-S/16 (Wang et al. 2023, arXiv 2211.07044) on thirteen bands of Level-1C: timm's own ViT."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.plain_vit import resized_table
from bandloom.public_encoders.public_encoder import PublicConfig, PublicEncoder, SlotStatistics, own_statistics
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
from bandloom.sensors import Sensor

FAMILY = "ssl4eo"
BASE_SIDE = 14  # tokens a side of the position table, 224 pixels in patches of 16
HEAD_DIM = 64  # of ViT-S to H
NORM_EPS = 1e-6
DIVIDE = 10_000.0
PREFIXES = ("module.base_encoder.", "module.", "backbone.", "encoder.")
OWN = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.")  # heads and decoders are left aside


class ViTEmbedding(SlotStatistics):
    """Pixels of a patch to one vector, the class token, and the table of positions."""

    def __init__(self, config: PublicConfig, statistics: Statistics, bands: int) -> None:
        super().__init__(statistics)
        width = config.embed_dim
        self.project = nn.Linear(bands * config.patch_px**2, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1 + BASE_SIDE**2, width).normal_(std=0.02))

    def forward(self, samples: Tensor, positions: Tensor) -> Tensor:
        """Return ``(B, 1 + T, D)``, the class token first, of samples ``(B, T, S)`` and positions ``(T, D)``."""
        tokens = self.project(samples) + positions
        first = (self.class_token + self.positions[:1]).to(tokens.dtype).expand(tokens.shape[0], -1, -1)
        return torch.cat([first, tokens], dim=1)


class Ssl4eo(PublicEncoder):
    """A plain vision transformer; see the record ``ssl4eo.yaml``."""

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        family = get_family(FAMILY)
        embedding = ViTEmbedding(config, statistics or own_statistics(config, family), len(family.bands))
        super().__init__(config, statistics, embedding, NORM_EPS)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the table of positions brought to a grid of tokens, bicubic as timm does it, ``(T, D)``."""
        return resized_table(self.embed.positions[1:], rows, columns, antialias=True)

    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return the class token and the tokens of the image, ``(B, 1 + T, D)``."""
        return self.embed(samples, positions)

    def to_tokens(self, sequence: Tensor, tokens: int) -> Tensor:
        """Return the tokens of the image, ``(B, T, D)``."""
        return sequence[:, 1:]


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds one of the published files."""
    return published_file(folder, FAMILY) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Ssl4eo:
    """Read the encoder from the published file.

    Args:
        folder: that holds it.
        patch_px: 16 or None: the kernels have one size.
        month: None: it knows no date.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    family = get_family(FAMILY)
    path, size = require_file(folder, FAMILY)
    require_fixed(family, patch_px, month)
    theirs = without_prefix(read_weights(path), "cls_token", PREFIXES)
    theirs = {name: value for name, value in theirs.items() if name.startswith(OWN)}

    def make() -> tuple[Ssl4eo, Mapping[str, Tensor]]:
        width, bands = theirs["cls_token"].shape[-1], len(family.bands)
        shape = (width, depth_of(theirs), width // HEAD_DIM)
        config = fixed_config(family, size, *shape, shift=(0.0,) * bands, divide=(DIVIDE,) * bands)
        return Ssl4eo(config), _renamed(theirs)

    return build(path, f"ViT of {len(family.bands)} bands and patches of {family.patch_px}", make)


def _renamed(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = {name: value for name, value in theirs.items() if name.startswith(("blocks.", "norm."))}
    return own | {
        "embed.project.weight": theirs["patch_embed.proj.weight"].flatten(1),
        "embed.project.bias": theirs["patch_embed.proj.bias"],
        "embed.class_token": theirs["cls_token"],
        "embed.positions": theirs["pos_embed"][0],
    }
