"""Losses on labels as sums and counts, which travel apart; without a single label each is 0, never NaN."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bandloom.classes.label_set import IGNORE_INDEX


class Loss(ABC):
    """A loss that is a function of sums over labels; called with logits and a target, it is that of one batch."""

    linear: ClassVar[bool] = True  # in the sums, once the counts are known

    @abstractmethod
    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return what is summed over the labels of some samples, ``(M,)``.

        Args:
            logits: ``(B, K)`` or ``(B, K, H, W)``.
            target: class indices ``(B,)`` or ``(B, H, W)`` of any integer type, 255 unknown; of several classes a chip
                noughts and ones ``(B, K)``, NaN unknown.
        """

    def counts(self, target: Tensor, classes: int) -> Tensor:
        """Return how much there is to sum, ``(N,)``: by default the number of known labels."""
        known = ~target.isnan() if target.is_floating_point() else target != IGNORE_INDEX
        return known.sum()[None]

    def value(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Return the loss, a scalar, of sums and counts that were added over any number of parts."""
        return sums[0] / counts.to(sums.dtype)[0].clamp(min=1)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of one batch, a scalar."""
        return self.value(self.sums(logits, target), self.counts(target, logits.shape[1]))


class CrossEntropy(Loss):
    """The mean cross entropy over known labels."""

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the summed cross entropy, ``(1,)``."""
        return functional.cross_entropy(logits, target.long(), ignore_index=IGNORE_INDEX, reduction="sum")[None]


@dataclass(frozen=True)
class Focal(Loss):
    """The mean focal loss over known labels: cross entropy that forgets what is easy (Lin et al. 2017, eq. 5).

    Args:
        gamma: 0 is cross entropy.
    """

    gamma: float = 2.0

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the summed focal loss, ``(1,)``."""
        target = target.long()
        known = target != IGNORE_INDEX
        log_probability = functional.log_softmax(logits, 1).gather(1, target.where(known, 0).unsqueeze(1)).squeeze(1)
        each = -((1 - log_probability.exp()) ** self.gamma) * log_probability
        return torch.where(known, each, 0.0).sum()[None]


@dataclass(frozen=True)
class Dice(Loss):
    """One minus the mean Dice overlap of the classes that occur (Milletari et al. 2016).

    Args:
        smooth: keeps rare classes from a division by nearly nothing.
    """

    linear: ClassVar[bool] = False
    smooth: float = 1.0

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return each class's overlap, then its predicted and true labels together, ``(2 K,)``."""
        known = (target != IGNORE_INDEX).unsqueeze(1)
        truth = _one_hot(target, logits.shape[1])
        probability = logits.softmax(1) * known
        axes = (0, *range(2, logits.ndim))
        return torch.cat([(probability * truth).sum(axes), (probability + truth).sum(axes)])

    def counts(self, target: Tensor, classes: int) -> Tensor:
        """Return the known labels of each class, ``(K,)``."""
        return _one_hot(target, classes).sum((0, *range(2, target.ndim + 1)))

    def value(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Return the mean over the classes that were counted."""
        overlap, total = sums.chunk(2)
        occurs = (counts > 0).to(sums.dtype)
        loss = 1 - (2 * overlap + self.smooth) / (total + self.smooth)
        return (loss * occurs).sum() / occurs.sum().clamp(min=1)


class CrossEntropyDice(Loss):
    """Cross entropy plus Dice: every pixel counts, and every class does."""

    linear: ClassVar[bool] = False

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return both losses' sums, ``(1 + 2 K,)``."""
        return torch.cat([cross_entropy.sums(logits, target), dice.sums(logits, target)])

    def counts(self, target: Tensor, classes: int) -> Tensor:
        """Return both losses' counts, ``(1 + K,)``."""
        return torch.cat([cross_entropy.counts(target, classes), dice.counts(target, classes)])

    def value(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Return the sum of both."""
        return cross_entropy.value(sums[:1], counts[:1]) + dice.value(sums[1:], counts[1:])


class BinaryCrossEntropy(Loss):
    """The mean cross entropy of every yes and no."""

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the summed cross entropy, ``(1,)``."""
        known = ~target.isnan()
        each = functional.binary_cross_entropy_with_logits(logits, target.where(known, 0.0), reduction="none")
        return torch.where(known, each, 0.0).sum()[None]


@dataclass(frozen=True)
class Asymmetric(Loss):
    """The asymmetric loss: easy absences count little, since a chip lacks most classes (Ridnik et al. 2021).

    Args:
        gamma: how fast a confident absence is forgotten; a presence never is.
        margin: absences below this probability cost nothing.
    """

    gamma: float = 4.0
    margin: float = 0.05

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the summed loss, ``(1,)``."""
        known = ~target.isnan()
        truth = target.where(known, 0.0)
        absent = (logits.sigmoid() - self.margin).clamp(min=0)
        cost = -truth * functional.logsigmoid(logits) - (1 - truth) * absent**self.gamma * torch.log1p(
            -absent.clamp(max=1 - 1e-6)
        )
        return torch.where(known, cost, 0.0).sum()[None]


class _OfValues(Loss):
    """A mean over known values: outputs ``(B, 1)`` or ``(B, 1, H, W)``, targets without the 1, NaN unknown."""

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the summed cost, ``(1,)``."""
        cost = self.cost(logits.squeeze(1), target.nan_to_num())
        return torch.where(target.isnan(), 0.0, cost).sum()[None]

    @abstractmethod
    def cost(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cost of each value, of normalised outputs and targets of one shape."""


class L2(_OfValues):
    """The mean squared difference of known values."""

    def cost(self, output: Tensor, target: Tensor) -> Tensor:
        """Return squared differences."""
        return (output - target).square()


class L1(_OfValues):
    """The mean absolute difference of known values."""

    def cost(self, output: Tensor, target: Tensor) -> Tensor:
        """Return absolute differences."""
        return (output - target).abs()


@dataclass(frozen=True)
class Huber(_OfValues):
    """The mean Huber loss of known values (Huber 1964): squared near 0, linear beyond.

    Args:
        delta: where it turns linear, in deviations of the training labels.
    """

    delta: float = 1.0

    def cost(self, output: Tensor, target: Tensor) -> Tensor:
        """Return half the squares, or the lines that go on from them."""
        return functional.huber_loss(output, target, reduction="none", delta=self.delta)


def _one_hot(target: Tensor, classes: int) -> Tensor:
    """Return noughts and ones ``(B, K)`` or ``(B, K, H, W)``; an unknown label is of no class."""
    target = target.long()
    known = target != IGNORE_INDEX
    return functional.one_hot(target.where(known, 0), classes).movedim(-1, 1) * known.unsqueeze(1)


cross_entropy, focal, dice, cross_entropy_dice = CrossEntropy(), Focal(), Dice(), CrossEntropyDice()
binary_cross_entropy, asymmetric = BinaryCrossEntropy(), Asymmetric()
l2, l1, huber = L2(), L1(), Huber()
MULTILABEL_LOSSES: dict[str, Loss] = {"binary_cross_entropy": binary_cross_entropy, "asymmetric": asymmetric}
LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "cross_entropy_dice": cross_entropy_dice,
}
VALUE_LOSSES: dict[str, Loss] = {"l2": l2, "l1": l1, "huber": huber}
