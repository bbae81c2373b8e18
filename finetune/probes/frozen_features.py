"""Frozen features of every labelled sample, computed once and cached, so that a probe takes seconds."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bandloom.band_subsets import take_slots
from bandloom.classes.label_set import IGNORE_INDEX, majority_classes
from bandloom.command_line.console import logger, track
from bandloom.files.output import new_output
from bandloom.finetune.data.chips import ChipData
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.own_bands import cut
from bandloom.finetune.data.splits import BUFFER, PIXEL_M, extent_role
from bandloom.finetune.scores.scoring import evaluating
from bandloom.model.any_encoder import AnyEncoder
from bandloom.run_state.pieces import kept
from bandloom.run_state.pulse import pulse
from bandloom.shards.store.index import MANIFEST
from bandloom.training.ranks import Ranks

GRID = 4  # a chip's tokens are kept as at most 4 x 4 means, which attention can choose from
PURE = 0.5  # a token of a map has a class when one class covers this share of it
SAMPLES_A_BATCH = 32
BATCHES_A_PIECE = 8  # what a stopped attempt has encoded is kept in pieces of so many batches


@dataclass(frozen=True)
class Features:
    """Features with their labels, roles and blocks, one row a chip or a token of a map.

    Args:
        mean: ``(N, D)`` float32.
        tokens: ``(N, G, D)`` float16, or float32 where that cannot hold them: the chip's means on a coarse grid; empty
            for maps.
        labels: class indices ``(N,)``; of several classes a chip noughts and ones ``(N, K)``.
        roles: 0 train, 1 validation, 2 test, 255 neither, ``(N,)``.
        blocks: block numbers ``(N,)`` uint64.
    """

    mean: np.ndarray
    tokens: np.ndarray
    labels: np.ndarray
    roles: np.ndarray
    blocks: np.ndarray

    def of(self, role: int) -> "Features":
        """Return the rows of one role."""
        return self.take(np.flatnonzero(self.roles == role))

    def take(self, rows: np.ndarray) -> "Features":
        """Return some rows."""
        tokens = self.tokens[rows] if len(self.tokens) else self.tokens
        return Features(self.mean[rows], tokens, self.labels[rows], self.roles[rows], self.blocks[rows])


def frozen_features(
    encoder: AnyEncoder,
    data: TaskData,
    chip_px: int,
    *,
    slots: Sequence[str] | None = None,
    cache: Path | None = None,
    ranks: Ranks | None = None,
) -> Features:
    """Run the encoder over every labelled sample, or read what an earlier call kept.

    Args:
        encoder: its weights do not change.
        data: labelled samples under a split; another split uses the same cache.
        chip_px: side of a chip of a map.
        slots: show the encoder these bands alone; None: all of the sensor's.
        cache: file to keep the features in; one of other weights, shards or bands is replaced.
        ranks: who share the encoding: all of them call it, inside a run that keeps their pieces, and get all features.
            None: this process alone.
    """
    named = f"{weights_digest(encoder)} {_shards_digest(data)} {data.task} {data.sensor.name} {chip_px} {slots}"
    named += _told(data)
    digest = hashlib.sha256(named.encode()).hexdigest()
    held = _read(cache, digest)
    if ranks is not None and ranks.world > 1 and ranks.any(held is None):  # the shares, which are then found kept
        ranks.together(lambda: _pieces(encoder, data, chip_px, slots, digest, (ranks.rank, ranks.world)))
    if held is None:
        held = _joined(_pieces(encoder, data, chip_px, slots, digest))
        if cache is not None and (ranks is None or ranks.rank == 0):
            _write(cache, digest, held)
    return _with_roles(held, data)


def weights_digest(encoder: AnyEncoder) -> str:
    """Return a short digest of an encoder's weights."""
    digest = hashlib.sha256()
    for name, value in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


Arrays = dict[str, np.ndarray]  # mean, tokens, labels, index (place in data.indices), row and column (of a token)


def _pieces(
    encoder: AnyEncoder,
    data: TaskData,
    chip_px: int,
    slots: Sequence[str] | None,
    digest: str,
    share: tuple[int, int] = (0, 1),
) -> list[Arrays]:
    """Return the features of every piece of the samples, or of every n-th from a first one on; all are kept."""
    batches = list(_batches(len(data.indices)))
    pieces = [batches[first : first + BATCHES_A_PIECE] for first in range(0, len(batches), BATCHES_A_PIECE)]
    first, step = share
    what = "features of a frozen encoder"

    def encoded(piece: Sequence[range]) -> Arrays:
        rows: list[Arrays] = []
        for batch in piece:
            pulse(what)
            rows += _rows(encoder, data, batch, chip_px, slots)
        return _joined(rows)

    with evaluating(encoder), torch.no_grad():
        return [
            kept(f"features from {piece[0].start}", digest, partial(encoded, piece))
            for piece in track(pieces[first::step], what)
        ]


def _joined(parts: Sequence[Arrays]) -> Arrays:
    return {key: np.concatenate([part[key] for part in parts if part]) for key in next(filter(None, parts), {})}


def _rows(
    encoder: AnyEncoder, data: TaskData, batch: range, chip_px: int, slots: Sequence[str] | None
) -> Iterator[Arrays]:
    """Yield rows of a few samples: chips of one size go through the encoder together, maps chip by chip."""
    samples = [data.read(int(data.indices[place])) for place in batch]
    if not data.answer.per_pixel:
        groups = data.own({gsd: np.stack([s.groups[gsd] for s in samples]) for gsd in samples[0].groups})
        features, grid = _encode(encoder, groups, data, slots)
        tokens = _coarse(features, grid)
        yield {
            "mean": features.mean(1).numpy(),
            "tokens": halved(tokens),
            "index": np.array(batch),
            "labels": np.stack([_target(data, place, sample) for place, sample in zip(batch, samples, strict=True)]),
            "row": np.zeros(len(batch), np.int64),
            "column": np.zeros(len(batch), np.int64),
        }
        return
    side = encoder.config.token_m // PIXEL_M
    for place, sample in zip(batch, samples, strict=True):
        groups = data.own(sample.groups)
        for y in range(0, sample.label.shape[0], chip_px):
            for x in range(0, sample.label.shape[1], chip_px):
                chip = {gsd: group[None] for gsd, group in cut(groups, y, x, chip_px).items()}
                labels = majority_classes(sample.label[y : y + chip_px, x : x + chip_px], side, PURE)
                rows, columns = np.nonzero(labels != IGNORE_INDEX)
                if len(rows):
                    features, grid = _encode(encoder, chip, data, slots)
                    yield {
                        "mean": features[0].unflatten(0, grid)[rows, columns].numpy(),
                        "tokens": np.zeros((0, 1, 1), np.float16),
                        "labels": labels[rows, columns],
                        "index": np.full(len(rows), place),
                        "row": rows * side + y + side // 2,
                        "column": columns * side + x + side // 2,
                    }


def halved(tokens: Tensor) -> np.ndarray:
    """Return tokens as float16, or as they are where one is beyond what float16 holds (65,504)."""
    held = tokens.half()
    return (tokens if (held.isinf() & tokens.isfinite()).any() else held).cpu().numpy()


def _target(data: TaskData, place: int, sample: Any) -> np.ndarray:
    return cast(ChipData, data).target_of(int(data.indices[place]), sample)


def _encode(
    encoder: AnyEncoder, groups: Mapping[int, np.ndarray], data: TaskData, slots: Sequence[str] | None
) -> tuple[Tensor, tuple[int, int]]:
    sensor = data.sensor
    if slots is not None:
        groups, sensor = take_slots(groups, sensor, slots)
    device = next(encoder.parameters()).device
    tensors = {gsd: torch.from_numpy(group).to(device) for gsd, group in groups.items()}
    tensors = {
        gsd: functional.pad(tensor.float(), _padding(gsd, tensor, encoder.chip_step_m))
        for gsd, tensor in tensors.items()
    }
    return encoder.forward_features(tensors, sensor).float().cpu(), encoder.grid(tensors)


def _padding(gsd_m: int, group: Tensor, step_m: int) -> tuple[int, int, int, int]:
    """Return what fills the last tokens with absent samples (right, bottom)."""
    down, right = (-side * gsd_m % step_m // gsd_m for side in group.shape[-2:])
    return 0, right, 0, down


def _coarse(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average tokens ``(B, T, D)`` onto at most :data:`GRID` rows and columns, ``(B, G, D)``."""
    planes = features.transpose(1, 2).unflatten(2, grid)
    return functional.adaptive_avg_pool2d(planes, (min(GRID, grid[0]), min(GRID, grid[1]))).flatten(2).transpose(1, 2)


def _with_roles(held: Arrays, data: TaskData) -> Features:
    roles, blocks = np.empty(len(held["labels"]), np.uint8), np.empty(len(held["labels"]), np.uint64)
    for place in np.unique(held["index"]).tolist():
        rows = np.flatnonzero(held["index"] == place)
        entry = data.shards.entries[int(data.indices[place])]
        side, corner = int(entry.side_px), (entry.x_m, entry.y_m)
        at = held["row"][rows], held["column"][rows]
        if not data.answer.per_pixel:
            roles[rows] = extent_role(data.split, entry, side)
            at = np.full(len(rows), side // 2), np.full(len(rows), side // 2)
        else:
            roles[rows] = data.split.roles(entry, corner, (side, side))[at]
        blocks[rows] = data.split.blocks(entry, corner, (side, side))[at]
    labels = held["labels"].astype(np.int64)
    if labels.ndim == 1:
        roles[labels == IGNORE_INDEX] = BUFFER
    return Features(held["mean"], held["tokens"], labels, roles, blocks)


def _batches(count: int) -> Iterator[range]:
    for start in range(0, count, SAMPLES_A_BATCH):
        yield range(start, min(count, start + SAMPLES_A_BATCH))


def _told(data: TaskData) -> str:
    """Return what features and labels depend on beside shards and sensor: a table of classes, or fewer bands."""
    told = ""
    if data.answer.several:
        targets = np.stack([_target(data, place, None) for place in range(len(data.indices))])
        told += f" {hashlib.sha256(targets.tobytes()).hexdigest()}"
    if data.sensor.slots != data.shards.sensors[data.sensor.name].slots:
        told += f" {data.sensor.slots}"
    return told


def _shards_digest(data: TaskData) -> str:
    manifest = data.shards.path / MANIFEST
    return hashlib.sha256(manifest.read_bytes()).hexdigest()[:16] if manifest.is_file() else str(len(data.shards))


def _read(cache: Path | None, digest: str) -> Arrays | None:
    if cache is None or not cache.is_file():
        return None
    try:
        with np.load(cache) as file:
            if str(file["digest"]) == digest:
                logger.info("features read from %s", cache)
                return {key: file[key] for key in file.files if key != "digest"}
    except (OSError, ValueError, KeyError) as cause:
        logger.warning("%s cannot be read (%s) and is written anew", cache, cause)
    return None


def _write(cache: Path, digest: str, held: Arrays) -> None:
    with new_output(cache, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, digest=np.array(digest), **held)  # pyright: ignore[reportArgumentType]
