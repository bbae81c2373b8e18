"""OlmoEarth v1 to v1.3 (Allen Institute 2025, 2511.13655) for one date of Sentinel-2 Level-2A.

The authors' encoder takes several modalities and dates; here one image of one month remains. What differs between the
versions is read from the weights: band groups as tokens (v1) or all bands in one (from v1.1 on, after a small network
on every pixel), positions added (to v1.1) or by turning queries and keys (from v1.2 on), and a pooler (v1.3). With one
date every token is turned by the same angle in time, which changes no score, so the day is left out.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.errors import CheckpointError
from bandloom.model.embedding import patchify, unpatchify
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.galileo import axis_embedding, moment_embedding
from bandloom.public_encoders.olmoearth_pooler import AttentionPooler, axial_turn
from bandloom.public_encoders.plain_vit import cubic_weights, on_grid
from bandloom.public_encoders.positioned_block import KeptWide, PositionedBlock
from bandloom.public_encoders.public_encoder import PublicConfig, PublicEncoder, SlotStatistics, own_statistics
from bandloom.public_encoders.published import build, depth_of, fixed_config, read_weights, require_fixed
from bandloom.sensors import Sensor
from bandloom.training.device_memory import constant

FAMILY = "olmoearth"
WEIGHTS, SHAPE = "weights.pth", "config.json"
MODALITY = "sentinel2_l2a"
BASE_PATCH_PX = 8  # the image is resized to patches of this size
POSITION_UNIT_M = 10  # positions count in pixels of this size
SIZES = {128: "nano", 192: "tiny", 384: "small", 768: "base", 1024: "large"}
DEVIATIONS = 2.0  # the input's range is mean +- 2 std


class OlmoEmbedding(SlotStatistics):
    """Samples of a token to one vector a band group, with what is constant of each: group, date and month."""

    moment: Tensor

    def __init__(self, config: PublicConfig, statistics: Statistics, groups: tuple[int, ...]) -> None:
        super().__init__(statistics)
        width, self.pixels, self.groups = config.embed_dim, BASE_PATCH_PX**2, groups
        hidden = int(config.options["hidden"])
        self.pixel = nn.Linear(groups[0], hidden) if hidden else None
        inputs = (hidden,) if hidden else groups
        self.project = nn.ModuleList(nn.Linear(channels * self.pixels, width) for channels in inputs)
        self.channel = nn.Parameter(torch.zeros(len(groups), width // 4))
        moment = moment_embedding(width // 4, config.month or 0)
        if config.options["turned"]:
            moment[: width // 4] = 0  # the date turns queries and keys instead
        self.register_buffer("moment", moment, persistent=False)

    def forward(self, samples: Tensor, positions: Tensor | None) -> Tensor:
        """Return ``(B, T * G, D)``, the band groups of a token side by side, of samples ``(B, T, C * 64)``."""
        channels = samples.split([count * self.pixels for count in self.groups], dim=-1)
        if self.pixel is not None:
            inner = samples.unflatten(2, (self.groups[0], self.pixels)).transpose(2, 3)  # (B, T, 64, C)
            channels = (self.pixel(inner).relu().transpose(2, 3).flatten(2),)
        parts = []
        for index, project in enumerate(self.project):
            own = torch.cat([self.channel[index], self.moment, torch.zeros_like(self.channel[index])])
            parts.append(project(channels[index]) + (own if positions is None else positions + own))
        return torch.stack(parts, dim=2).flatten(1, 2)


class OlmoEarth(PublicEncoder):
    """OlmoEarth nano to large, v1 to v1.3; see the record ``olmoearth.yaml``."""

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        family = get_family(FAMILY)
        groups = tuple(map(len, family.band_groups)) if config.options["grouped"] else (len(family.bands),)
        embedding = OlmoEmbedding(config, statistics or own_statistics(config, family), groups)
        super().__init__(config, statistics, embedding)
        self.turned = bool(config.options["turned"])
        width, heads = config.embed_dim, config.num_heads
        if self.turned:
            self.rates = KeptWide(torch.zeros(config.depth, 2, heads, width // heads // 2))
        self.pooler: AttentionPooler | None = None
        if config.options["pooled"]:
            self.pooler, self.inner_norm = AttentionPooler(width, heads, config.mlp_ratio), nn.LayerNorm(width)

    def make_block(self) -> nn.Module:
        """Return one block with random weights."""
        if self.config.options["turned"]:
            return PositionedBlock(self.config.embed_dim, self.config.num_heads, self.config.mlp_ratio)
        return super().make_block()

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embedding ``(T, D)``, or cosines and sines a block, ``(depth + 1, 2, H, T, D / H / 2)``.

        The last of the latter are the pooler's.
        """
        unit, config = self.config.token_m / POSITION_UNIT_M, self.config
        if not self.turned:
            return constant(self.norm.weight.device, placed, rows, columns, self.embed_dim, unit)
        places = constant(self.norm.weight.device, grid_places, rows, columns, unit)  # (T, 2)
        angles = torch.einsum("tp,bphf->bhtf", places, self.rates.value)
        own = torch.stack([angles.cos(), angles.sin()], dim=1)  # (depth, 2, H, T, F)
        shared = axial_turn(places, config.embed_dim // config.num_heads)  # (2, 1, T, F)
        return torch.cat([own, shared.expand_as(own[0])[None]])

    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return ``(B, T * G, D)``, G the band groups."""
        return self.embed(samples, None if self.turned else positions)

    def step(self, index: int, sequence: Tensor, positions: Tensor) -> Tensor:
        """Return what a block makes of ``(B, N, D)``."""
        return self.blocks[index](sequence, turn=positions[index]) if self.turned else self.blocks[index](sequence)

    def to_tokens(self, sequence: Tensor, tokens: int) -> Tensor:
        """Return the mean over the band groups of each token, ``(B, T, D)``."""
        return sequence.unflatten(1, (tokens, -1)).mean(2)

    def finish(self, sequence: Tensor, tokens: int, positions: Tensor) -> Tensor:
        """Return the pooler's tokens where there is one, else those of the sequence, ``(B, T, D)``."""
        if self.pooler is None:
            return super().finish(sequence, tokens, positions)
        return self.norm(self.pooler(self.inner_norm(sequence), positions[-1]))

    def at_depth(self, sequence: Tensor, tokens: int, positions: Tensor) -> Tensor:
        """Return the tokens of an earlier block, which no pooler was made for."""
        return self.to_tokens((self.norm if self.pooler is None else self.inner_norm)(sequence), tokens)

    @property
    def samples_px(self) -> int:
        """Pixels a side of the samples of a token: the image is resized to patches of 8."""
        return BASE_PATCH_PX

    def samples(self, groups: Mapping[int, Tensor], sensor: Sensor) -> tuple[Tensor, Tensor]:
        """Return the input, resized (bicubic, as a whole) and cut into tokens; see the base class."""
        samples, valid = super().samples(groups, sensor)
        given, (rows, columns) = self.config.patch_px, self.grid(groups)
        if given == BASE_PATCH_PX:
            return samples, valid
        down, across = (
            constant(samples.device, cubic_weights, side * given, side * BASE_PATCH_PX, True)  # antialiased
            for side in (rows, columns)
        )
        image = down @ unpatchify(samples, given, rows) @ across.T
        measured = valid.unflatten(2, (-1, given**2)).any(3, keepdim=True)
        return patchify(image, BASE_PATCH_PX), measured.expand(-1, -1, -1, BASE_PATCH_PX**2).flatten(2)


def grid_places(rows: int, columns: int, unit: float) -> Tensor:
    """Return row and column of every token in units of 10 m, ``(T, 2)``."""
    return unit * torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()


def placed(rows: int, columns: int, embed_dim: int, unit: float) -> Tensor:
    """Return the position embedding ``(T, D)``: the last quarter of the width, 0 elsewhere."""
    width = embed_dim // 4
    down, across = (axis_embedding(side, width // 2, unit) for side in (rows, columns))
    return functional.pad(on_grid(down, across), (embed_dim - width, 0))


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds OlmoEarth as its authors publish it."""
    try:
        shape = json.loads((folder / SHAPE).read_text())
    except (OSError, ValueError):
        return False
    held = isinstance(shape, dict) and isinstance(shape.get("model"), dict) and "encoder_config" in shape["model"]
    return held and (folder / WEIGHTS).is_file()


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> OlmoEarth:
    """Read the encoder from its authors' files: ``weights.pth`` and ``config.json``.

    Args:
        folder: that holds them.
        patch_px: pixels of 10 m a side of a token; None: the record's.
        month: 0 is January; None: the record's.

    Raises:
        CheckpointError: a file is missing or does not fit, or the patch is none that it takes.
    """
    family, path = get_family(FAMILY), folder / WEIGHTS
    require_fixed(family, patch_px, month)
    shape = json.loads((folder / SHAPE).read_text())["model"]["encoder_config"]
    theirs = {k.removeprefix("encoder."): v for k, v in read_weights(path).items() if k.startswith("encoder.")}

    def make() -> tuple[OlmoEarth, Mapping[str, Tensor]]:
        depth, width = depth_of(theirs), theirs["norm.weight"].shape[0]
        options = _options(theirs)
        bounds = [mean - DEVIATIONS * std for mean, std in zip(family.mean, family.std, strict=True)]
        more: dict[str, Any] = {
            "shift": bounds,
            "divide": [2 * DEVIATIONS * std for std in family.std],
            "patch_px": patch_px or family.patch_px,
            "month": family.month if month is None else month,
            "mlp_ratio": float(shape.get("mlp_ratio", 4.0)),
            "options": options,
        }
        config = fixed_config(family, _size(options, width), width, depth, int(shape["num_heads"]), **more)
        return OlmoEarth(config), _renamed(theirs, config)

    _require_plain(shape, path)
    return build(path, "OlmoEarth encoder", make)


def _require_plain(shape: Mapping[str, Any], path: Path) -> None:
    """Refuse what no published version has and this code would pass over."""
    unknown = {"num_register_tokens": 0, "qk_norm": False, "rope_coordinate_scale": 1.0, "post_proj_hidden_sizes": None}
    for name, plain in unknown.items():
        if shape.get(name, plain) not in (plain, None):
            raise CheckpointError(
                f"{path} has {name}={shape[name]}, which no published OlmoEarth encoder has; use one of v1 to v1.3."
            )
    if shape.get("position_encoding", "absolute") not in ("absolute", "rope_3d_mixed"):
        raise CheckpointError(f"{path} has the positions {shape['position_encoding']!r}; use one of v1 to v1.3.")


def _options(theirs: Mapping[str, Tensor]) -> dict[str, int]:
    hidden = theirs.get(f"{_embedding(0)}.pixel_proj.0.weight")
    return {
        "grouped": int(f"{_embedding(1)}.proj.weight" in theirs),
        "hidden": 0 if hidden is None else hidden.shape[0],
        "turned": int("blocks.0.attn.rope_mixed_freqs" in theirs),
        "pooled": int("attention_pooler.norm.weight" in theirs),
    }


def _size(options: Mapping[str, int], width: int) -> str:
    version = "v1" if options["grouped"] else f"v1_{1 + options['turned'] + options['pooled']}"
    return f"{version}-{SIZES.get(width, f'{width} wide')}"


def _embedding(index: int) -> str:
    return f"patch_embeddings.per_modality_embeddings.{MODALITY}.{MODALITY}__{index}"


def _renamed(theirs: Mapping[str, Tensor], config: PublicConfig) -> dict[str, Tensor]:
    own = {f"norm.{kind}": theirs[f"norm.{kind}"] for kind in ("weight", "bias")}
    for index in range(3 if config.options["grouped"] else 1):
        kernels, channels = theirs[f"{_embedding(index)}.proj.weight"], int(config.options["hidden"])
        if kernels.ndim == 2:  # pixels of a patch, then channels; here channels first
            channels = channels or kernels.shape[1] // BASE_PATCH_PX**2
            kernels = kernels.unflatten(1, (-1, channels)).transpose(1, 2)
        own[f"embed.project.{index}.weight"] = kernels.flatten(1)
        own[f"embed.project.{index}.bias"] = theirs[f"{_embedding(index)}.proj.bias"]
    if config.options["hidden"]:
        for kind in ("weight", "bias"):
            own[f"embed.pixel.{kind}"] = theirs[f"{_embedding(0)}.pixel_proj.0.{kind}"]
    own["embed.channel"] = theirs[f"composite_encodings.per_modality_channel_embeddings.{MODALITY}"]
    heads = config.num_heads if config.options["turned"] else 0
    for index in range(config.depth):
        own |= renamed_block(theirs, f"blocks.{index}.", f"blocks.{index}.", heads)
    if config.options["turned"]:
        rates = [theirs[f"blocks.{index}.attn.rope_mixed_freqs"][1:] for index in range(config.depth)]
        own["rates.value"] = torch.stack(rates)  # rows and columns; the first is time's
    if config.options["pooled"]:
        own |= _pooler(theirs, config.num_heads, own)
    return own


def _pooler(theirs: Mapping[str, Tensor], heads: int, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "attention_pooler."
    if f"{prefix}read_blocks.1.norm1.weight" in theirs:
        raise ValueError("its pooler has more than one layer")
    pooler = {
        "pooler.query": theirs[f"{prefix}learned_query"],
        **renamed_block(theirs, f"{prefix}self_attn_blocks.0.", "pooler.mix.", heads),
        **_reader(renamed_block(theirs, f"{prefix}read_blocks.0.", "", heads)),
    }
    for kind in ("weight", "bias"):
        pooler[f"inner_norm.{kind}"] = own[f"norm.{kind}"]
        pooler[f"norm.{kind}"] = theirs[f"{prefix}norm.{kind}"]
        pooler[f"pooler.input_norm.{kind}"] = theirs[f"{prefix}input_norm.{kind}"]
    return pooler


def _reader(block: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a block that reads others' keys and values: its three matrices apart."""
    own = {f"pooler.{name.removeprefix('attn.')}": value for name, value in block.items() if "qkv" not in name}
    for kind in ("weight", "bias"):
        asked, key, value = block[f"attn.qkv.{kind}"].chunk(3)
        own |= {f"pooler.asked.{kind}": asked, f"pooler.held.{kind}": torch.cat([key, value])}
    return own


def renamed_block(theirs: Mapping[str, Tensor], given: str, wanted: str, heads: int) -> dict[str, Tensor]:
    """Return one block under our names: three attention matrices as one.

    Args:
        theirs: all weights.
        given: prefix of the block there.
        wanted: prefix here.
        heads: of attention that turns queries and keys, whose pairs (2 i, 2 i + 1) become (i, i + half), or 0.
    """
    own = {}
    for kind in ("weight", "bias"):
        for part in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2"):
            own[f"{wanted}{part}.{kind}"] = theirs[f"{given}{part}.{kind}"]
        parts = [theirs[f"{given}attn.{name}.{kind}"] for name in "qkv"]
        if heads:
            parts[:2] = [halves(part, heads) for part in parts[:2]]
        own[f"{wanted}attn.qkv.{kind}"] = torch.cat(parts)
    return own


def halves(rows: Tensor, heads: int) -> Tensor:
    """Reorder the rows of each head ``(H * F, ...)`` from neighbouring pairs to halves."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
