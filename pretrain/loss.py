"""The loss of a pretraining step: the objective's terms by sensor, so that micro batches of several sensors add up."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.sensors import Sensor
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.step_loss import LossSums, MeanLoss


class MaskedLoss(MeanLoss):
    """The objective's loss of each sensor, by the share of its samples in the step.

    Args:
        model: the autoencoder itself, whatever an engine wraps it in.
        sensors: all that a batch may be of, the same on every rank.
    """

    def __init__(self, model: MaskedAutoencoder, sensors: Sequence[Sensor]) -> None:
        self.model = model
        self.slices: dict[str, slice] = {}  # of a sensor's terms; beside its counts stands its number of samples
        first = 0
        for sensor in sensors:
            self.slices[sensor.name] = slice(first, first + model.objective.terms(sensor) + 1)
            first = self.slices[sensor.name].stop
        self.width = first

    def sums(self, module: nn.Module, batch: DeviceBatch) -> LossSums:
        """Return the terms of a batch of one sensor in the places of that sensor's."""
        sums, counts = module(batch)
        return LossSums(self._placed(sums, batch, 0), self._placed(counts, batch, len(batch.keys)))

    def counts(self, batch: DeviceBatch) -> Tensor:
        """Return the counts of a batch of one sensor, in their places."""
        return self._placed(self.model.counts(batch), batch, len(batch.keys))

    def loss(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Return the mean over the samples' sensors."""
        own = [LossSums(sums[place], counts[place]) for place in self.slices.values()]
        samples = torch.stack([item.counts[-1] for item in own]).to(sums.dtype)
        losses = torch.stack([LossSums(item.sums[:-1], item.counts[:-1]).loss() for item in own])
        return (losses * (samples / samples.sum())).sum()

    def _placed(self, terms: Tensor, batch: DeviceBatch, samples: int) -> Tensor:
        place = self.slices[batch.sensor.name]
        return nn.functional.pad(
            torch.cat([terms, terms.new_full((1,), samples)]), (place.start, self.width - place.stop)
        )
