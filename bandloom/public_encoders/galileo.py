"""Galileo (Tseng et al. 2025, 2502.09356) for one date of Sentinel-2: five band-group tokens a patch, and their mean.

The authors' encoder takes many modalities and patches of any size; here the others are left out, as its pretraining
masks them, and the patch, the month and the positions are fixed, so that what is left is a plain vision transformer.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.errors import CheckpointError
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import Family, get_family
from bandloom.public_encoders.public_encoder import PublicConfig, PublicEncoder, SlotStatistics, own_statistics
from bandloom.public_encoders.published import read_weights, require_fixed
from bandloom.sensors import Sensor
from bandloom.training.device_memory import constant

FAMILY = "galileo"
WEIGHTS, SHAPE, NORMALISATION = "encoder.pt", "config.json", "normalization.json"
GROUPS = ("S2_RGB", "S2_Red_Edge", "S2_NIR_10m", "S2_NIR_20m", "S2_SWIR")  # the authors' names, in the record's order
CHANNEL_ROWS = slice(1, 6)  # of s_t_channel_embed, whose first row is Sentinel-1's and last NDVI's
STATISTICS_KEY, STATISTICS_ROWS = "13", slice(2, 12)  # of normalization.json, after VV and VH and before NDVI
BASE_PATCH_PX = 8  # the kernels are kept at this size
MEAN_GROUND = 3  # tokens a side of the ground whose keys are taken for the mean
POSITION_UNIT_M = 10  # positions count in pixels of this size


class GalileoEmbedding(SlotStatistics):
    """Samples of a token to one vector a band group, with what is constant of each: group, date and month."""

    moment: Tensor

    def __init__(self, config: PublicConfig, statistics: Statistics, groups: tuple[tuple[str, ...], ...]) -> None:
        super().__init__(statistics)
        width, pixels = config.embed_dim, config.patch_px**2
        self.band_groups = groups
        self.pixels = pixels
        self.project = nn.ModuleList(nn.Linear(len(group) * pixels, width) for group in groups)
        self.channel = nn.Parameter(torch.zeros(len(groups), width // 4))
        self.register_buffer("moment", moment_embedding(width // 4, config.month or 0), persistent=False)

    def forward(self, samples: Tensor, slots: tuple[str, ...], positions: Tensor) -> Tensor:
        """Return ``(B, T * G, D)``, the G band groups of a token side by side, of samples ``(B, T, S)``."""
        parts, start = [], 0
        for index, (group, project) in enumerate(zip(self.band_groups, self.project, strict=True)):
            if group[0] in slots:
                stop = start + len(group) * self.pixels
                constant = torch.cat([self.channel[index], self.moment, torch.zeros_like(self.channel[index])])
                parts.append(project(samples[..., start:stop]) + (positions + constant))
                start = stop
        return torch.stack(parts, dim=2).flatten(1, 2)


class Galileo(PublicEncoder):
    """Galileo nano, tiny or base; see the record ``galileo.yaml``."""

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        family = get_family(FAMILY)
        super().__init__(
            config,
            statistics,
            GalileoEmbedding(config, statistics or own_statistics(config, family), family.band_groups),
        )

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embedding ``(T, D)``: the last quarter of the width, in pixels of 10 m, 0 elsewhere."""
        placed = constant(
            self.norm.weight.device,
            placed_on_grid,
            rows,
            columns,
            self.embed_dim,
            self.config.token_m / POSITION_UNIT_M,
        )
        return placed.to(self.embed.channel)

    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return ``(B, T * G, D)``, G the band groups that the sensor has."""
        return self.embed(samples, self.bands_of(sensor), positions)

    def to_tokens(self, sequence: Tensor, tokens: int) -> Tensor:
        """Return the mean over the band groups of each token, ``(B, T, D)``."""
        return sequence.unflatten(1, (tokens, -1)).mean(2)


def placed_on_grid(rows: int, columns: int, embed_dim: int, unit: float) -> Tensor:
    """Return the position embedding ``(T, D)`` of a grid whose tokens lie ``unit`` apart, row by row."""
    width = embed_dim // 4
    x, y = (axis_embedding(count, width // 2, unit) for count in (columns, rows))
    grid = torch.cat([x[None].expand(rows, -1, -1), y[:, None].expand(-1, columns, -1)], dim=-1)
    return functional.pad(grid.reshape(rows * columns, width), (embed_dim - width, 0))


def axis_embedding(count: int, width: int, unit: float) -> Tensor:
    """Return sines and cosines of places along one axis, ``(count, width)``; the authors' rates, theirs alone."""
    rate = 10000.0 ** -(torch.arange(width // 2) / width / 2.0)
    angle = (torch.arange(count) * unit)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def moment_embedding(width: int, month: int) -> Tensor:
    """Return what says that this is the first date, and its month, ``(2 * width,)``."""
    angle = torch.tensor(2 * math.pi * month / 12)
    half = width // 2
    first_date = torch.cat([torch.zeros(half), torch.ones(half)])  # sines and cosines of 0
    return torch.cat([first_date, angle.sin().expand(half), angle.cos().expand(half)])


def resized_kernels(kernels: Tensor, side: int) -> Tensor:
    """Bring patch kernels ``(D, C, 8, 8)`` to another patch by the pseudo-inverse of resizing (FlexiViT, eq. 7).

    An image that is resized (bicubic, antialiased) from ``side`` to 8 pixels keeps its tokens as far as can be.
    """
    base = kernels.shape[-1]
    if side == base:
        return kernels
    basis = torch.eye(base * base).reshape(-1, 1, base, base)
    resize = functional.interpolate(basis, (side, side), mode="bicubic", antialias=True).flatten(1)  # (64, side * side)
    return (kernels.flatten(2) @ torch.linalg.pinv(resize).T).unflatten(2, (side, side))


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds Galileo as its authors publish it."""
    try:
        shape = json.loads((folder / SHAPE).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(shape, dict) and "encoder" in shape.get("model", {}) and (folder / WEIGHTS).is_file()


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Galileo:
    """Read Galileo from its authors' files: ``encoder.pt``, ``config.json`` and ``normalization.json``.

    Args:
        folder: that holds them.
        patch_px: pixels of 10 m a side of a token; None: the record's.
        month: 0 is January; None: the record's.

    Raises:
        CheckpointError: a file is missing or does not fit, or the patch is none that it takes.
    """
    family = get_family(FAMILY)
    config = _config(folder, family, patch_px or family.patch_px, family.month if month is None else month)
    encoder = Galileo(config)
    theirs = {name.replace(".backbone", ""): value for name, value in read_weights(folder / WEIGHTS).items()}
    encoder.load_state_dict(_converted(theirs, config, folder), strict=True)
    centre_keys(encoder)
    return encoder


@torch.no_grad()
def centre_keys(encoder: Galileo) -> None:
    """Take from every block's keys the mean key of ground as pretraining met it on average.

    A softmax over keys is the same when all keys move by one vector, so no answer changes but by rounding. The nano's
    first attention has scores of 18,000 on real ground, most of it shared by all keys; without it they stay below
    4,000, and rounding changes what the softmax makes of them less (docs/decisions/int8.md).
    """
    config, family = encoder.config, encoder.family
    means = [(m - s) / d for m, s, d in zip(config.mean, config.shift, config.divide, strict=True)]
    samples = torch.tensor(means).repeat_interleave(config.patch_px**2).expand(1, MEAN_GROUND**2, -1)
    positions = encoder.positions(MEAN_GROUND, MEAN_GROUND)
    sequence = encoder.embed(samples, family.bands, positions)
    keys = slice(encoder.embed_dim, 2 * encoder.embed_dim)  # of queries, keys and values side by side
    block: Any
    for block in encoder.blocks:
        qkv = block.attn.qkv
        shared = qkv(block.norm1(sequence))[..., keys].mean((0, 1))
        sequence = block(sequence)
        qkv.bias[keys] -= shared


def _config(folder: Path, family: Family, patch_px: int, month: int | None) -> PublicConfig:
    require_fixed(family, patch_px, month)
    shape = _json(folder / SHAPE)
    numbers = _json(folder / NORMALISATION)
    try:
        own = shape["model"]["encoder"]
        mean, std = (numbers[STATISTICS_KEY][key][STATISTICS_ROWS] for key in ("mean", "std"))
        if len(mean) != len(family.bands) or len(std) != len(mean) or min(std) <= 0:
            raise ValueError(f"{len(mean)} means and {len(std)} deviations, expected {len(family.bands)}")
        return PublicConfig(
            family=FAMILY,
            size=_SIZES.get((own["embedding_size"], own["depth"]), f"width {own['embedding_size']}"),
            embed_dim=own["embedding_size"],
            depth=own["depth"],
            num_heads=own["num_heads"],
            mlp_ratio=own["mlp_ratio"],
            gsd_m=family.gsd_m,
            patch_px=patch_px,
            month=month,
            mean=tuple(mean),
            std=tuple(std),
            shift=tuple(m - 2 * s for m, s in zip(mean, std, strict=True)),
            divide=tuple(4 * s for s in std),
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise CheckpointError(
            f"{folder} does not describe a Galileo encoder ({cause!r}): without its authors' {SHAPE} and"
            f" {NORMALISATION} its input has no scale; fetch it again with `bandloom encoder fetch`."
        ) from cause


_SIZES = {(128, 4): "nano", (192, 12): "tiny", (768, 12): "base"}


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as cause:
        raise CheckpointError(
            f"{path} cannot be read ({cause}), so the scale of the encoder's input is unknown; fetch it again with"
            " `bandloom encoder fetch`."
        ) from cause


def _converted(theirs: Mapping[str, Tensor], config: PublicConfig, folder: Path) -> dict[str, Tensor]:
    """Return their weights under our names: kernels at the patch's size, the three attention matrices as one."""
    try:
        own = {
            f"blocks.{name}": theirs[f"blocks.{name}"]
            for name in (
                f"{index}.{part}.{kind}"
                for index in range(config.depth)
                for part in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2")
                for kind in ("weight", "bias")
            )
        }
        for index in range(config.depth):
            for kind in ("weight", "bias"):
                parts = [theirs[f"blocks.{index}.attn.{name}.{kind}"] for name in ("q", "k", "v")]
                own[f"blocks.{index}.attn.qkv.{kind}"] = torch.cat(parts)
        for index, group in enumerate(GROUPS):
            kernels = theirs[f"space_time_embed.{group}.proj.weight"]
            own[f"embed.project.{index}.weight"] = resized_kernels(kernels, config.patch_px).flatten(1)
            own[f"embed.project.{index}.bias"] = theirs[f"space_time_embed.{group}.proj.bias"]
        own["embed.channel"] = theirs["s_t_channel_embed"][CHANNEL_ROWS]
        return own | {f"norm.{kind}": theirs[f"norm.{kind}"] for kind in ("weight", "bias")}
    except KeyError as cause:
        raise CheckpointError(f"{folder / WEIGHTS} has no {cause}; it is no Galileo encoder of this shape.") from cause
