"""What distillation knows of its teacher before the first step: the statistics that whiten its tokens, and the tokens.

Samples that training sees whole have the same teacher's tokens every time, so these are computed once and kept, if they
fit. Every rank reads the same samples in the same batches, so a run that goes on has the same numbers to the bit.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bandloom.command_line.console import logger, track
from bandloom.draws.evenly import evenly
from bandloom.errors import ShardError
from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.objectives import Distillation
from bandloom.pretrain.teacher import Teacher
from bandloom.shards.read.loader import ALIGN_PX
from bandloom.shards.read.shard_set import ShardSet

KEPT_BYTES = 512 * 2**20  # of tokens at most
MOST_SAMPLES = 2048  # behind the statistics where the tokens are not kept
BATCH = 16


def prepare_teacher(objective: Distillation, shards: ShardSet, indices: np.ndarray, crop_px: int | None) -> None:
    """Check that the teacher takes the shards, take its statistics, and keep its tokens of samples that are seen whole.

    Args:
        objective: on the device that shall compute; statistics that it has already, from a snapshot, stay.
        shards: to train on.
        indices: of the samples to train on, ``(N,)``.
        crop_px: side of the crop in 10 m pixels; None: all of a sample.

    Raises:
        CheckpointError: a sensor is of another level, or lacks a band that the teacher needs.
        ConfigError: the chips do not suit the teacher.
    """
    teacher, side_px = objective.teacher, crop_px or shards.side_px
    taught = taught_samples(objective, shards, indices)
    teacher.check_side(side_px)
    keep = _are_kept(teacher, shards, taught, indices, side_px)
    chosen = taught if keep else taught[evenly(len(taught), MOST_SAMPLES)]
    count, total = 0, torch.zeros(teacher.embed_dim, dtype=torch.float64)
    product = torch.zeros(teacher.embed_dim, teacher.embed_dim, dtype=torch.float64)
    for keys, said, read in tokens_of(objective, shards, chosen, side_px):
        own = said[read].double()
        count, total, product = count + len(own), total + own.sum(0), product + own.T @ own
        if keep:
            objective.kept.update({key: (said[i].clone(), read[i].clone()) for i, key in enumerate(keys)})
    mean = total / max(1, count)
    if count and not int(objective.seen):
        objective.set_statistics(count, mean.float(), product / count - torch.outer(mean, mean))
    logger.info("the teacher said %s tokens of %s samples", f"{count:,}", f"{len(chosen):,}")


def taught_share(config: PretrainConfig, shards: ShardSet, indices: np.ndarray) -> float:
    """Return the share of samples for which every step runs the teacher: none where its tokens are kept.

    Raises:
        CheckpointError: a sensor is of another level, or lacks a band that the teacher needs.
    """
    if config.objective.kind != "distil":
        return 0.0
    objective = Distillation(config.objective, config.token_m)
    taught = taught_samples(objective, shards, indices)
    kept = _are_kept(objective.teacher, shards, taught, indices, config.crop_px or shards.side_px)
    return 0.0 if kept else len(taught) / max(1, len(indices))


def _are_kept(teacher: Teacher, shards: ShardSet, taught: np.ndarray, indices: np.ndarray, side_px: int) -> bool:
    """Tell whether a teacher's tokens are computed once: samples are seen whole, and the tokens fit."""
    tokens = (side_px * 10 // teacher.token_m) ** 2
    whole = all(shards.entries[int(i)].side_px == side_px for i in indices)
    return whole and len(taught) * tokens * teacher.embed_dim * 4 <= KEPT_BYTES


def taught_samples(objective: Distillation, shards: ShardSet, indices: np.ndarray) -> np.ndarray:
    """Return the samples whose sensor the teacher takes, ``(M,)``.

    Raises:
        CheckpointError: there is another, and the config does not say what to learn from it.
    """
    names = np.array([shards.entries[int(i)].sensor for i in indices])
    taught = {}
    for name in sorted(set(names)):
        sensor = shards.sensors[name]
        taught[name] = objective.teacher.takes(sensor)
        if not taught[name] and (objective.config.untaught == "refuse" or len(set(names)) == 1):
            objective.teacher.check_sensor(sensor)
    return indices[np.array([taught[name] for name in names])]


def tokens_of(
    objective: Distillation, shards: ShardSet, indices: np.ndarray, side_px: int
) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    """Yield keys, the teacher's tokens ``(B, T, D)`` and where they were read ``(B, T)``, a few samples at a time."""
    names = [shards.entries[int(i)].sensor for i in indices]
    ordered = [int(i) for name in sorted(set(names)) for i, own in zip(indices, names, strict=True) if own == name]
    batches = [
        [i for i in ordered[first : first + BATCH] if shards.entries[i].sensor == sensor]
        for first in range(0, len(ordered), BATCH)
        for sensor in sorted({shards.entries[i].sensor for i in ordered[first : first + BATCH]})
    ]
    for batch in track(batches, "the teacher's tokens", len(batches)):
        keys, samples = [], []
        for index in batch:
            try:
                sample = shards.read(index)
            except ShardError as error:
                logger.warning("a damaged sample is left out: %s", error)
                continue
            keys.append(sample.key)
            samples.append(middle(sample.groups, side_px))
        if samples:
            device = objective.centre.device
            native = {gsd: np.stack([sample[gsd] for sample in samples]) for gsd in samples[0]}
            groups = {gsd: torch.from_numpy(group).to(device) for gsd, group in native.items()}
            said, read = objective.teacher.tokens(groups, shards.sensors[shards.entries[batch[0]].sensor])
            yield keys, said.cpu(), read.cpu()


def middle(groups: dict[int, np.ndarray], side_px: int) -> dict[int, np.ndarray]:
    """Cut the middle out of a sample's native groups, on the 60 m grid."""
    cut = {}
    for gsd, group in groups.items():
        room = group.shape[-1] * gsd // 10 - side_px
        start, side = room // 2 // ALIGN_PX * ALIGN_PX * 10 // gsd, side_px * 10 // gsd
        cut[gsd] = group[:, start : start + side, start : start + side]
    return cut
