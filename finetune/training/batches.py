"""Training batches: a rank's loader, its chips with the labels of training ground alone, and the loss on them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.experiment import Experiment
from bandloom.finetune.training.label_loss import label_loss
from bandloom.finetune.training.soft_labels import SoftLabelLoss, soft_teacher
from bandloom.shards.read.loader import Loader, LoaderState
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.device_memory import page_locked
from bandloom.training.ranks import Ranks
from bandloom.training.side_stream import SideStream
from bandloom.training.step_loss import StepLoss
from bandloom.training.trainer import LoadedStep, TrainerConfig


def make_loss(experiment: Experiment) -> StepLoss:
    """Return a step's loss as the config says: augmented on the device, then the chosen loss, and soft labels."""
    loss = experiment.task.loss(experiment.config.loss)
    if experiment.config.soft is None:
        return label_loss(experiment.config, loss)
    return SoftLabelLoss(experiment.config, loss, soft_teacher(experiment.config.soft, experiment))


def training_steps(experiment: Experiment, state: LoaderState) -> Iterator[LoadedStep]:
    """Yield training batches without end; labels outside the training ground are 255 in them.

    Raises:
        LabelError: a segmenter's samples carry no label raster.
    """
    data, in_pairs = experiment.data, experiment.config.perturb.mix != "none"
    loader = loader_of(
        data.shards,
        data.indices_of(TRAIN),
        experiment.config.trainer,
        experiment.ranks,
        crop_px=experiment.chip_px,
        start=state,
        in_pairs=in_pairs,
    )
    return loaded_steps(loader, experiment.ranks, data.training_batch)


def loader_of(shards: ShardSet, indices: np.ndarray, config: TrainerConfig, ranks: Ranks, **options: Any) -> Loader:
    """Return this rank's loader of a training, with further options of :class:`Loader`."""
    at = {"seed": config.seed, "rank": ranks.rank, "world": ranks.world, "workers": config.workers}
    return Loader(shards, indices, config.batch_size, allocate=page_locked(ranks.device), **at, **options)


def loaded_steps(
    loader: Loader, ranks: Ranks, seen: Callable[[Any], Any] = lambda batch: batch
) -> Iterator[LoadedStep]:
    """Yield a loader's batches on the device, without end.

    Args:
        loader: of this rank.
        ranks: of the run.
        seen: what is made of each batch before.
    """
    to_device = SideStream(ranks.device)
    for batch in loader:
        yield LoadedStep(to_device(seen(batch)), batch.state)
