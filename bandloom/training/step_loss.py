"""The loss of a step over micro batches on all ranks: sums over sums, so that the cutting changes no number.

A mean of the micro batches' means is not the mean of the batch where labels or samples are missing: each has a count of
its own. So sums and counts travel apart, and are divided once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bandloom.draws.sample_draws import seen
from bandloom.training.ranks import Ranks


class LossSums(NamedTuple):
    """Sums over what counts, and how much that is: the terms of a loss, ``(M,)`` each; counts have no gradient."""

    sums: Tensor
    counts: Tensor

    def loss(self) -> Tensor:
        """Return the mean over the terms of sum over count; a term without anything that counts is 0."""
        return (self.sums / self.counts.clamp(min=1).to(self.sums.dtype)).mean()


class StepLoss(ABC):
    """What a step minimises; one batch, or the same samples in micro batches on several ranks, give one number."""

    @abstractmethod
    def shares(self, module: nn.Module, micro_batches: Sequence[Any], ranks: Ranks) -> Iterator[Tensor]:
        """Yield a scalar a micro batch, to be taken back through the model before the next one is asked for.

        Added over the micro batches and averaged over the ranks, their values and gradients are the joined batch's.

        Args:
            module: the model as the engine runs it.
            micro_batches: this rank's, as many on every rank.
            ranks: the processes of the run; all of them take part.
        """

    def __call__(self, module: nn.Module, batch: Any) -> Tensor:
        """Return the loss of one batch in one process, a scalar."""
        return next(iter(self.shares(module, [batch], _alone())))


class MeanLoss(StepLoss):
    """A loss that is linear in its sums once the counts are known: each micro batch gives its share at once."""

    def prepare(self, batch: Any) -> Any:
        """Return what :meth:`sums` and :meth:`counts` read, made once a step."""
        return batch

    @abstractmethod
    def sums(self, module: nn.Module, batch: Any) -> LossSums:
        """Return the terms of one prepared micro batch."""

    @abstractmethod
    def counts(self, batch: Any) -> Tensor:
        """Return the counts of one prepared micro batch without running the model, ``(M,)``."""

    def loss(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Return the loss of sums ``(M,)`` where ``counts`` were counted; linear in the sums."""
        return LossSums(sums, counts).loss()

    def shares(self, module: nn.Module, micro_batches: Sequence[Any], ranks: Ranks) -> Iterator[Tensor]:
        """Yield each micro batch's sums over the counts of all micro batches of all ranks."""
        prepared = [self.prepare(batch) for batch in micro_batches]
        if len(prepared) == 1:  # then a forward pass counts what it sums
            with seen(micro_batches[0]):
                sums = self.sums(module, prepared[0])
            yield ranks.world * self.loss(sums.sums, added(sums.counts, ranks))
            return
        counts = added(torch.stack([self.counts(batch).double() for batch in prepared]).sum(0), ranks)
        for samples, batch in zip(micro_batches, prepared, strict=True):
            with seen(samples):
                loss = self.loss(self.sums(module, batch).sums, counts)
            yield ranks.world * loss


class JointLoss(StepLoss):
    """A loss that has to see all micro batches before any gradient is known: Dice, or contrasts within a batch.

    Where there are several, each goes through the model twice: once for what it says, once for its gradients
    (Gao et al. 2021, arXiv 2101.06983). What dropout draws is drawn alike both times.
    """

    def prepare(self, batch: Any) -> Any:
        """Return what :meth:`parts` reads, made once a step."""
        return batch

    @abstractmethod
    def parts(self, module: nn.Module, batch: Any) -> tuple[Tensor, ...]:
        """Return what the loss needs of one prepared micro batch: tensors much smaller than what the model keeps."""

    @abstractmethod
    def whole(self, parts: Sequence[tuple[Tensor, ...]], ranks: Ranks) -> Tensor:
        """Return this rank's loss, a scalar, from its micro batches' parts; the mean over the ranks is the step's."""

    def shares(self, module: nn.Module, micro_batches: Sequence[Any], ranks: Ranks) -> Iterator[Tensor]:
        """Yield the loss, or the parts' products with its gradients, which have the loss's own."""
        prepared = [self.prepare(batch) for batch in micro_batches]
        if len(prepared) == 1:
            yield self.whole([self._seen_parts(module, micro_batches[0], prepared[0])], ranks)
            return
        drawn = _generators(ranks)
        with torch.no_grad():
            said = [self._seen_parts(module, *both) for both in zip(micro_batches, prepared, strict=True)]
        torch.clear_autocast_cache()  # or the weights cast without a gradient would be used again
        leaves = [tuple(part.detach().requires_grad_(part.is_floating_point()) for part in parts) for parts in said]
        loss = self.whole(leaves, ranks)
        loss.backward()
        _set_generators(drawn, ranks)
        for samples, batch, own in zip(micro_batches, prepared, leaves, strict=True):
            pairs = zip(self._seen_parts(module, samples, batch), own, strict=True)
            share = torch.stack([(part * leaf.grad).sum() for part, leaf in pairs if leaf.grad is not None]).sum()
            yield share + (loss.detach() / len(prepared) - share.detach())

    def _seen_parts(self, module: nn.Module, samples: Any, batch: Any) -> tuple[Tensor, ...]:
        with seen(samples):
            return self.parts(module, batch)


class PlainLoss(StepLoss):
    """A loss that is a mean over the samples of a batch, all of which count alike.

    Args:
        loss: ``(module, micro_batch) -> scalar``.
    """

    def __init__(self, loss: Callable[[nn.Module, Any], Tensor]) -> None:
        self.loss = loss

    def shares(self, module: nn.Module, micro_batches: Sequence[Any], ranks: Ranks) -> Iterator[Tensor]:
        """Yield each micro batch's mean over their number."""
        for batch in micro_batches:
            with seen(batch):
                loss = self.loss(module, batch)
            yield loss / len(micro_batches)


def added(counts: Tensor, ranks: Ranks) -> Tensor:
    """Return the sum of counts over all ranks, in float64 where there are several."""
    if ranks.world == 1:
        return counts
    total = counts.detach().double()
    dist.all_reduce(total)
    return total


def added_with_gradients(sums: Tensor, ranks: Ranks) -> Tensor:
    """Return the sum over all ranks; on the way back every rank gets what all ranks' losses ask."""
    return sums if ranks.world == 1 else _Added.apply(sums)  # type: ignore[no-any-return]


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = own.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total


def _alone() -> Ranks:
    return Ranks(0, 0, 1, torch.device("cpu"))


def _generators(ranks: Ranks) -> list[Tensor]:
    on_card = [torch.cuda.get_rng_state(ranks.device)] if ranks.device.type == "cuda" else []
    return [torch.get_rng_state(), *on_card]


def _set_generators(states: Sequence[Tensor], ranks: Ranks) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, ranks.device)
