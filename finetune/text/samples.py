"""Samples of an alignment: their split, their chips, and their vectors by a frozen model."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bandloom.errors import ConfigError, ShardError
from bandloom.finetune.data.split_choice import BLOCK_SIDES_M
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.data.splits import BUFFER, PIXEL_M, TEST, TRAIN, BlockSplit, Split, extent_role, given_split
from bandloom.finetune.experiment import say_cropped
from bandloom.finetune.text.model import AlignModel
from bandloom.model.any_encoder import AnyEncoder
from bandloom.run_state.pulse import pulse
from bandloom.shards.read.shard_set import ShardSet

ALIGN_PX = 6  # crops begin on the 60 m grid
FEWEST_TESTS = 8


def sample_roles(config: SplitConfig, shards: ShardSet, indices: np.ndarray) -> tuple[Split, np.ndarray]:
    """Return the split and the role of each sample, ``(N,)``: 0 train, 1 validation, 2 test, 255 none.

    Args:
        config: of kind ``block`` or ``given``.
        shards: a :class:`bandloom.shards.read.shard_set.ShardSet`.
        indices: which samples, ``(N,)``.

    Raises:
        ConfigError: another kind, or no samples are left to train or to test with.
    """
    entries = [shards.entries[int(i)] for i in indices]
    if config.kind == "given":
        split: Split = given_split(entries)
        return split, _roles(split, entries)
    if config.kind != "block":
        raise ConfigError(f"split.kind is {config.kind!r}; align knows block and given.")
    if any(entry.epsg is None for entry in entries):
        raise ConfigError("split.kind=block needs samples with a place; use split.kind=given.")
    side_m = max(int(entry.side_px) for entry in entries) * PIXEL_M
    sides = [config.block_m] if config.block_m else _sides(side_m, config.buffer_m)
    tried = [BlockSplit(side, config.buffer_m, config.val, config.test, config.seed) for side in sides]
    for split in tried:
        roles = _roles(split, entries)
        if (roles == TEST).sum() >= FEWEST_TESTS and (roles == TRAIN).sum() >= (roles == TEST).sum():
            return split, roles
    roles = _roles(tried[-1], entries)
    if (roles == TRAIN).any() and (roles == TEST).any():
        return tried[-1], roles
    raise ConfigError(
        f"the split leaves {(roles == TRAIN).sum()} samples for training and {(roles == TEST).sum()} for"
        " the test; use another split.seed, split.block_m, or more ground."
    )


def chip_side(shards: ShardSet, indices: np.ndarray, encoder: AnyEncoder) -> int:
    """Return the largest side in pixels that tokens tile, every sample has, and the encoder was pretrained on.

    Raises:
        ShardError: samples are smaller than a token.
    """
    least, step_m = min(int(shards.entries[int(i)].side_px) for i in indices), encoder.chip_step_m
    most_m = min(least * PIXEL_M, encoder.longest_chip_m or least * PIXEL_M)
    side = most_m // step_m * step_m // PIXEL_M
    if not side:
        raise ShardError(
            f"samples of {shards.path} are {least} pixels wide, less than a token of {step_m} m; build"
            " the shards with a larger --side."
        )
    if encoder.longest_chip_m is not None:
        say_cropped(side, least, encoder)
    return side


def centre_crop(groups: dict[int, np.ndarray], chip_px: int) -> dict[int, np.ndarray]:
    """Cut the middle of native groups ``(C, H, W)``, on the 60 m grid."""
    cut = {}
    for gsd_m, group in groups.items():
        room = group.shape[-1] * gsd_m // PIXEL_M - chip_px
        first, side = room // 2 // ALIGN_PX * ALIGN_PX * PIXEL_M // gsd_m, chip_px * PIXEL_M // gsd_m
        cut[gsd_m] = group[:, first : first + side, first : first + side]
    return cut


def image_batches(shards: ShardSet, indices: Sequence[int], chip_px: int, size: int) -> Iterator[dict[int, Tensor]]:
    """Yield the middles of samples as tensors, ``{gsd_m: (B, C, H, W)}``."""
    for first in range(0, len(indices), size):
        pulse("image vectors")
        chips = [centre_crop(shards.read(int(i)).groups, chip_px) for i in indices[first : first + size]]
        yield {gsd: torch.from_numpy(np.stack([chip[gsd] for chip in chips])) for gsd in chips[0]}


@torch.no_grad()
def pooled_features(model: AlignModel, shards: ShardSet, indices: Sequence[int]) -> Tensor:
    """Return what the vector of each sample is made of, ``(N, D)`` float32 on the CPU."""
    device = model.log_scale.device
    parts = [
        model.tokens({g: t.to(device) for g, t in groups.items()}).mean(1).float().cpu()
        for groups in image_batches(shards, indices, model.chip_px, 32)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, model.image_dim)


def _sides(side_m: int, buffer_m: int) -> list[int]:
    """Return sides of blocks that hold a sample and their buffer, the largest first."""
    return [side for side in BLOCK_SIDES_M if side >= side_m and side > buffer_m] or [2 * max(side_m, buffer_m)]


def _roles(split: Split, entries: list[Any]) -> np.ndarray:
    roles = [BUFFER if e.split == "duplicate" else extent_role(split, e, int(e.side_px)) for e in entries]
    return np.array(roles, np.int64)
