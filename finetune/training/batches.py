"""Training batches: this rank's chips with the labels of training ground alone, and the loss on them."""

from collections.abc import Iterator

from bandloom.device_memory import page_locked
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.setting import Setting
from bandloom.finetune.training.label_loss import label_loss
from bandloom.finetune.training.soft_labels import SoftLabelLoss, soft_teacher
from bandloom.shards.read.loader import Loader, LoaderState
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.step_loss import StepLoss
from bandloom.training.trainer import LoadedStep


def make_loss(setting: Setting) -> StepLoss:
    """Return a step's loss as the config says: augmented on the device, then the chosen loss, and soft labels."""
    loss = setting.task.loss(setting.config.loss)
    if setting.config.soft is None:
        return label_loss(setting.config, loss)
    return SoftLabelLoss(setting.config, loss, soft_teacher(setting.config.soft, setting))


def training_steps(setting: Setting, state: LoaderState) -> Iterator[LoadedStep]:
    """Yield training batches without end; labels outside the training ground are 255 in them.

    Raises:
        LabelError: a segmenter's samples carry no label raster.
    """
    config, data, ranks = setting.config.trainer, setting.data, setting.ranks
    loader = Loader(
        data.shards,
        data.indices_of(TRAIN),
        config.batch_size,
        seed=config.seed,
        rank=ranks.rank,
        world=ranks.world,
        crop_px=setting.chip_px,
        workers=config.workers,
        allocate=page_locked(ranks.device),
        start=state,
        in_pairs=setting.config.perturb.mix != "none",
    )
    for batch in loader:
        yield LoadedStep(DeviceBatch.of(data.training_batch(batch), ranks.device), batch.state)
