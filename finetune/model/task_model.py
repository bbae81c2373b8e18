"""The fine-tuned model: an encoder, a head, and the meaning of its outputs."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.classes.label_set import LabelSet
from bandloom.errors import ConfigError
from bandloom.finetune.model.heads import PIXEL_M, ChangeHead, ClassifyHead, DptHead, FpnHead, SegmentHead
from bandloom.finetune.model.lora import add_lora
from bandloom.finetune.model.native_bands import BandGroup, native_bands, stacked
from bandloom.finetune.model.samples_beside import tokens_of
from bandloom.finetune.model.windows import in_windows
from bandloom.model.any_encoder import AnyEncoder
from bandloom.sensors import Sensor
from bandloom.target import Target
from bandloom.tasks import ANSWERS, Answer, TaskName

HeadKind = Literal["linear", "fpn", "dpt", "joined"]
ChangeLabels = Literal["classes", "mask"]
Mode = Literal["frozen", "last", "lora", "full"]


class TaskModel(nn.Module):
    """Digital numbers in, class logits out; normalisation is inside.

    Args:
        encoder: pretrained or random.
        sensor: whose native groups arrive.
        label_set: what the K logits mean, in its order.
        task: ``segment`` (a class a 10 m pixel), ``classify`` (a class a chip), ``multilabel`` (any
            number of classes a chip) or ``change`` (two dates stacked band
            group by band group, the earlier first; a class a 10 m pixel).
        chip_px: side of a chip in 10 m pixels; a multiple of the token.
        head: of a segmenter: linear on the last tokens, or fpn or dpt on those of four depths; of a classifier: linear
            on the mean token, or joined: on the mean token beside the mean native samples.
        target: of a regression: the quantity; the one number an answer holds is normalised by it.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        sensor: Sensor,
        label_set: LabelSet,
        task: TaskName,
        chip_px: int,
        head: HeadKind = "linear",
        target: Target | None = None,
    ) -> None:
        super().__init__()
        token_m = encoder.config.token_m
        if task not in list(ANSWERS):  # a damaged config.json may hold anything
            raise ConfigError(f"task is {task!r}; use one of {', '.join(ANSWERS)}.")
        step_m = encoder.chip_step_m
        if chip_px <= 0 or chip_px * PIXEL_M % step_m:
            fitting = max(chip_px * PIXEL_M // step_m, 1) * step_m // PIXEL_M
            raise ConfigError(f"chip_px is {chip_px}, which tokens of {token_m} m do not tile; use {fitting}.")
        self.task: TaskName = task
        self.answer = ANSWERS[task]
        heads = heads_of(self.answer)
        if head not in heads:
            fitting = " or ".join(name for name, answer in ANSWERS.items() if head in heads_of(answer))
            raise ConfigError(
                f"head {head!r} is not available for task {task!r}; leave head out, or use task={fitting}."
            )
        encoder.check_sensor(sensor)
        if self.answer.continuous != (target is not None):
            needs = "needs a target" if target is None else "has no target"
            raise ConfigError(f"task {task} {needs}; fine-tune the model anew.")
        self.target = target
        self.head_kind: HeadKind = head
        self.encoder, self.sensor, self.label_set = encoder, sensor, label_set
        self.chip_px = chip_px
        self.trained_steps = 0  # steps of training that are in the weights; the step that is kept, not the last
        self.window_px: int | None = None  # the encoder sees a larger chip in windows of this side; None: at once
        self.temperature = 1.0  # divides logits before they are read as probabilities; fitted on validation labels
        self.thresholds: tuple[float, ...] = ()  # multilabel: the probability from which on a class is there
        self.head: nn.Module
        if self.answer.per_pixel:
            self.head = heads[head](encoder.embed_dim, token_m, len(label_set), len(sensor.slots))
        else:
            samples = encoder.samples_per_token(sensor) if head == "joined" else 0
            bands = 0 if self.answer.several or self.answer.continuous else len(sensor.slots)
            self.head = heads[head](encoder.embed_dim, len(label_set), samples, bands)

    def forward(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return logits of chips of digital numbers ``{gsd_m: (B, C, H, W)}``: ``(B, K, H10, W10)`` or ``(B, K)``."""
        if not self.answer.per_pixel:
            bands = self.native_bands(groups) if self.head.sees_bands else ()
            return self.head(self.chip_tokens(groups), bands)
        if self.answer.dates > 1:
            tokens = self._both_dates(*split_dates(groups))
        elif self.head_kind != "linear":
            depths = taps(self.encoder.config.depth)
            encode = partial(self.encoder.forward_intermediates, sensor=self.sensor, indices=depths)
            tokens: Any = in_windows(encode, groups, self.encoder.grid, self.window_px)
        else:
            tokens = self.features(groups)
        return self.head(tokens, self.native_bands(groups), self.encoder.grid(groups))

    def features(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return the encoder's tokens of chips ``{gsd_m: (B, C, H, W)}``, ``(B, T, D)``, seen in windows where set."""
        encode = partial(self.encoder.forward_features, sensor=self.sensor)
        return in_windows(encode, groups, self.encoder.grid, self.window_px)

    def chip_tokens(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return what a head of chips pools, ``(B, T, D)`` or ``(B, T, D + S)``."""
        return tokens_of(self.encoder, groups, self.sensor, getattr(self.head, "beside", None))

    def _both_dates(self, earlier: Mapping[int, Tensor], later: Mapping[int, Tensor]) -> Tensor:
        """Return ``(B, T, 3 D)``: one encoder over both dates at once, and what it sees differently."""
        both = {gsd: torch.cat([earlier[gsd], later[gsd]]) for gsd in earlier}
        tokens = self.features(both)
        one, two = tokens.unflatten(0, (2, -1)).unbind(0)  # chunk would not export: the batch is not known
        return torch.cat([one, two, two - one], dim=-1)

    def native_bands(self, groups: Mapping[int, Tensor]) -> list[BandGroup]:
        """Return every band on its own grid, normalised, 0 where absent.

        The encoder's tokens never see single pixels; the head does, so that a pixel keeps its own spectrum.
        Of two dates: the earlier, then the difference.
        """
        mean, std = self.encoder.embed.mean, self.encoder.embed.std
        if self.answer.dates == 1:
            return native_bands(groups, self.sensor, mean, std)
        one, two = (native_bands(date, self.sensor, mean, std) for date in split_dates(groups))
        return one + [BandGroup(b.values - a.values, a.factor) for a, b in zip(one, two, strict=True)]

    def pixel_bands(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return :meth:`native_bands` on the 10 m grid (nearest sample), ``(B, C, H10, W10)``, or 2 C of two dates."""
        return stacked(self.native_bands(groups))


PIXEL_HEADS: dict[HeadKind, type[nn.Module]] = {"linear": SegmentHead, "fpn": FpnHead, "dpt": DptHead}
PAIR_HEADS: dict[HeadKind, type[nn.Module]] = {"linear": ChangeHead}
CHIP_HEADS: dict[HeadKind, type[nn.Module]] = {"linear": ClassifyHead, "joined": ClassifyHead}


def heads_of(answer: Answer) -> dict[HeadKind, type[nn.Module]]:
    """Return the heads that give an answer of that form."""
    if not answer.per_pixel:
        return CHIP_HEADS
    return PAIR_HEADS if answer.dates > 1 else PIXEL_HEADS


def taps(depth: int, count: int = 4) -> list[int]:
    """Return the blocks whose tokens a head of several depths reads, evenly spaced, the last one last."""
    return [max(0, round((part + 1) * depth / count) - 1) for part in range(count)]


Samples = TypeVar("Samples", np.ndarray, Tensor)


def split_dates(groups: Mapping[int, Samples]) -> tuple[dict[int, Samples], dict[int, Samples]]:
    """Part stacked dates ``{gsd_m: (..., 2 C, H, W)}`` into the earlier and the later."""
    half = {gsd: group.shape[-3] // 2 for gsd, group in groups.items()}
    earlier = {gsd: group[..., : half[gsd], :, :] for gsd, group in groups.items()}
    return earlier, {gsd: group[..., half[gsd] :, :, :] for gsd, group in groups.items()}


def normalised_pixels(groups: Mapping[int, Tensor], sensor: Sensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return every band on the 10 m grid (nearest sample), normalised, 0 where absent, ``(B, C, H10, W10)``.

    Arguments as of :func:`bandloom.finetune.model.native_bands.native_bands`.
    """
    return stacked(native_bands(groups, sensor, mean, std))


def set_trainable(model: TaskModel, mode: Mode, *, blocks: int = 2, rank: int = 8) -> None:
    """Let the head train, and of the encoder nothing, its last ``blocks``, products of ``rank``, or all of it."""
    model.encoder.requires_grad_(mode == "full")
    if mode == "lora":
        add_lora(model.encoder, rank)
    if mode == "last":
        model.encoder.norm.requires_grad_(True)
        for block in list(model.encoder.blocks)[-blocks:]:
            block.requires_grad_(True)
    model.head.requires_grad_(True)
    if isinstance(model.head, SegmentHead):
        model.head.pixel.require_grad()
