"""The loss of a fine-tuning step: chips augmented on the device, the chosen loss on the labels that are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bandloom.device_memory import to_device
from bandloom.errors import LabelError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.training.augment import d4
from bandloom.finetune.training.losses import Loss
from bandloom.finetune.training.perturb import mix, perturb
from bandloom.label_set import IGNORE_INDEX
from bandloom.tasks import ANSWERS
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import JointLoss, LossSums, MeanLoss, StepLoss, added, added_with_gradients


@dataclass(frozen=True)
class Seen:
    """What a model sees of one micro batch, and targets with their weights: one, or two where chips are mixed."""

    groups: dict[int, Tensor]
    targets: list[tuple[Tensor, float]]


def label_loss(config: FinetuneConfig, loss: Loss) -> StepLoss:
    """Return a step's loss: one pass through the model where a loss allows it, else two where there are parts."""
    return (MeanOverLabels if loss.linear else JointOverLabels)(config, loss)


class MeanOverLabels(MeanLoss):
    """A mean over all known labels of a step."""

    def __init__(self, config: FinetuneConfig, loss: Loss) -> None:
        self.config, self.of_labels = config, loss

    def prepare(self, batch: DeviceBatch) -> Seen:
        """Return the micro batch augmented."""
        return augmented(batch, self.config)

    def sums(self, module: nn.Module, batch: Seen) -> LossSums:
        """Return the loss's sums, targets by their weights."""
        logits = module(batch.groups).float()
        sums = torch.stack([weight * self.of_labels.sums(logits, target) for target, weight in batch.targets]).sum(0)
        return LossSums(sums, self.counts(batch))

    def counts(self, batch: Seen) -> Tensor:
        """Return the known labels, targets by their weights."""
        return torch.stack([weight * self.of_labels.counts(target, 0) for target, weight in batch.targets]).sum(0)

    def loss(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Return the loss of sums and counts."""
        return self.of_labels.value(sums, counts)


class JointOverLabels(JointLoss):
    """A loss that takes ratios of sums over all labels of a step, such as Dice."""

    def __init__(self, config: FinetuneConfig, loss: Loss) -> None:
        self.config, self.of_labels = config, loss

    def prepare(self, batch: DeviceBatch) -> Seen:
        """Return the micro batch augmented."""
        return augmented(batch, self.config)

    def parts(self, module: nn.Module, batch: Seen) -> tuple[Tensor, ...]:
        """Return sums ``(T, M)`` and counts ``(T, N)`` of T targets, and the targets' weights ``(T,)``."""
        logits = module(batch.groups).float()
        sums = torch.stack([self.of_labels.sums(logits, target) for target, _ in batch.targets])
        counts = torch.stack([self.of_labels.counts(target, logits.shape[1]) for target, _ in batch.targets])
        weights = to_device(torch.tensor([weight for _, weight in batch.targets]), sums.device)
        missing = (2 if self.config.perturb.mix != "none" else 1) - len(weights)  # a batch that was not mixed
        return tuple(
            nn.functional.pad(each, (0, 0) * (each.ndim - 1) + (0, missing)) for each in (sums, counts, weights)
        )

    def whole(self, parts: Sequence[tuple[Tensor, ...]], ranks: Ranks) -> Tensor:
        """Return the loss of all parts, each target by its mean weight."""
        sums, counts, weights = (torch.stack(each).sum(0) for each in zip(*parts, strict=True))
        sums, counts = added_with_gradients(sums, ranks), added(counts, ranks)
        shares = added(weights, ranks).to(sums.dtype) / (ranks.world * len(parts))
        values = [self.of_labels.value(*own) for own in zip(sums, counts, strict=True)]
        return (shares * torch.stack(values)).sum()


def augmented(batch: DeviceBatch, config: FinetuneConfig) -> Seen:
    """Return chips as the config turns, perturbs and mixes them, with their targets.

    Raises:
        LabelError: the samples carry no labels for the task.
    """
    batch = d4(batch) if config.augment else batch
    target = batch.label if ANSWERS[config.task].per_pixel else batch.class_index
    if target is None:
        raise LabelError(f"the samples {', '.join(batch.keys[:4])} carry no labels for {config.task}.")
    if not target.is_floating_point():  # class indices
        target = torch.where(target < 0, IGNORE_INDEX, target.long())
    batch, targets = mix(perturb(batch, config.perturb), target, config.perturb)
    return Seen(batch.groups, targets)
