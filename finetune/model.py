"""The fine-tuned model: an encoder, a head, and what its answers mean."""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bandloom.encoder import Encoder
from bandloom.errors import CheckpointError, ConfigError
from bandloom.label_set import LabelSet
from bandloom.sensors import SLOTS, Sensor
from bandloom.values import NODATA, OFFSET, SATURATED, SCALE
from finetune.heads import PIXEL_M, ClassifyHead, SegmentHead

Task = Literal["segment", "classify"]
Mode = Literal["frozen", "full"]


class TaskModel(nn.Module):
    """Digital numbers in, class logits out; normalisation is inside.

    Args:
        encoder: pretrained or random.
        sensor: whose native groups arrive.
        label_set: what the K logits mean, in its order.
        task: ``segment`` (a class a 10 m pixel) or ``classify`` (a class a chip).
        chip_px: side of a chip in 10 m pixels; a multiple of the token.
    """

    def __init__(self, encoder: Encoder, sensor: Sensor, label_set: LabelSet, task: Task, chip_px: int) -> None:
        super().__init__()
        token_m = encoder.config.token_m
        if task not in get_args(Task):
            raise ConfigError(f"task is {task!r}; use one of {', '.join(get_args(Task))}.")
        if chip_px <= 0 or chip_px * PIXEL_M % token_m:
            fitting = max(chip_px * PIXEL_M // token_m, 1) * token_m // PIXEL_M
            raise ConfigError(f"chip_px is {chip_px}, which tokens of {token_m} m do not tile; use {fitting}.")
        check_sensor(encoder, sensor)
        self.encoder, self.sensor, self.label_set = encoder, sensor, label_set
        self.task: Task = task
        self.chip_px = chip_px
        fine = [group for group in sensor.groups if group.gsd_m == PIXEL_M]
        slots = fine[0].slots if fine else ()
        self._fine_slots = [SLOTS.index(slot) for slot in slots]
        if task == "segment":
            self.head = SegmentHead(encoder.embed_dim, token_m, len(label_set), len(slots))
        else:
            self.head = ClassifyHead(encoder.embed_dim, len(label_set))

    def forward(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return logits of chips of digital numbers ``{gsd_m: (B, C, H, W)}``: ``(B, K, H10, W10)`` or ``(B, K)``."""
        tokens = self.encoder.forward_features(groups, self.sensor)
        return self.head(tokens, self.fine_bands(groups), self.encoder.grid(groups))

    def fine_bands(self, groups: Mapping[int, Tensor]) -> Tensor | None:
        """Return the measured 10 m bands as the encoder normalises them, 0 where absent, ``(B, C, H, W)``."""
        if not self._fine_slots:
            return None
        dn = groups[PIXEL_M].float()
        mean = self.encoder.embed.mean[self._fine_slots][:, None, None]
        std = self.encoder.embed.std[self._fine_slots][:, None, None]
        value = ((dn - OFFSET) / SCALE - mean) / (2 * std)
        return torch.where((dn > NODATA) & (dn < SATURATED), value, 0.0)


def check_sensor(encoder: Encoder, sensor: Sensor) -> None:
    """Check that the encoder knows every slot that the sensor fills.

    Raises:
        CheckpointError: it lacks statistics for a slot, having never seen that band.
    """
    missing = [slot for slot in sensor.slots if slot not in encoder.statistics.mean]
    if missing:
        raise CheckpointError(
            f"the checkpoint was trained without {', '.join(missing)}, which {sensor.name!r} brings; use a checkpoint"
            " pretrained on this sensor, or pretrain one on these shards."
        )


def set_trainable(model: TaskModel, mode: Mode) -> None:
    """Let the head train, and the encoder too when ``mode`` is ``full``."""
    model.encoder.requires_grad_(mode == "full")
    model.head.requires_grad_(True)
