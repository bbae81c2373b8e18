"""The loss of a fine-tuning step: chips augmented on the device, the chosen loss on the labels that are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.errors import LabelError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.training.augment import d4
from bandloom.finetune.training.losses import Loss
from bandloom.finetune.training.perturb import Target, mix, perturb
from bandloom.tasks import ANSWERS
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import JointLoss, LossSums, MeanLoss, StepLoss, added, added_with_gradients


@dataclass(frozen=True)
class Seen:
    """What a model sees of one micro batch, and targets with their weights: one, or two a pair of mixed chips."""

    groups: dict[int, Tensor]
    targets: list[Target]

    def sums(self, loss: Loss, logits: Tensor) -> Tensor:
        """Return a loss's sums, targets by their weights."""
        return _added([target.weight * loss.sums(logits[target.rows], target.labels) for target in self.targets])

    def counts(self, loss: Loss, classes: int) -> Tensor:
        """Return a loss's counts, targets by their weights."""
        return _added([target.weight * loss.counts(target.labels, classes) for target in self.targets])


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
        return LossSums(batch.sums(self.of_labels, logits), self.counts(batch))

    def counts(self, batch: Seen) -> Tensor:
        """Return the known labels, targets by their weights."""
        return batch.counts(self.of_labels, 0)

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
        """Return sums ``(M,)`` and counts ``(N,)``; where chips are mixed, those of soft labels."""
        logits = module(batch.groups).float()
        return batch.sums(self.of_labels, logits), batch.counts(self.of_labels, logits.shape[1])

    def whole(self, parts: Sequence[tuple[Tensor, ...]], ranks: Ranks) -> Tensor:
        """Return the loss of all parts."""
        sums, counts = (torch.stack(tensors).sum(0) for tensors in zip(*parts, strict=True))
        return self.of_labels.value(added_with_gradients(sums, ranks), added(counts, ranks))


def _added(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)


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
