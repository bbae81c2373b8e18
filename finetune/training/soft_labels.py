"""Soft labels: what a larger, fine-tuned model says of the same chips, beside the labels (Hinton et al. 2015).

The teacher sees each chip turned as the student does, with all its bands; it is frozen, and no part of what is saved.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.errors import ConfigError
from bandloom.finetune.config import FinetuneConfig, SoftLabelConfig
from bandloom.finetune.experiment import Experiment
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.model.heads import PIXEL_M
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.training.augment import d4
from bandloom.finetune.training.label_loss import Seen, augmented
from bandloom.finetune.training.losses import Loss
from bandloom.model.checkpoint import checkpoint_folder
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.step_loss import LossSums, MeanLoss


@dataclass(frozen=True)
class SoftlySeen:
    """What a model sees of one micro batch with its labels, and the teacher's logits ``(B, K, ...)`` of it."""

    seen: Seen
    said: Tensor


class SoftLabelLoss(MeanLoss):
    """``(1 - weight) * labels + weight * T^2 * KL(teacher | student)``, both over the known labels alone.

    Args:
        config: the run's, with ``soft``.
        loss: on labels.
        teacher: the frozen model.
    """

    def __init__(self, config: FinetuneConfig, loss: Loss, teacher: TaskModel) -> None:
        if config.soft is None:
            raise ConfigError("there is no teacher of soft labels; set soft.teacher.")
        self.config, self.of_labels, self.teacher, self.soft = config, loss, teacher, config.soft

    @torch.no_grad()
    def prepare(self, batch: DeviceBatch) -> SoftlySeen:
        """Return the micro batch augmented, and what the teacher says of it before bands are taken away."""
        batch = d4(batch) if self.config.augment else batch
        groups = {gsd: group.to(torch.int32) for gsd, group in batch.groups.items()}
        self.teacher.to(next(iter(groups.values())).device)
        with torch.autocast(next(iter(groups.values())).device.type, enabled=False):
            said = self.teacher(groups).float()
        return SoftlySeen(augmented(batch, self.config.with_changes(augment=False)), said)

    def sums(self, module: nn.Module, batch: SoftlySeen) -> LossSums:
        """Return the label loss's sum, then the divergence's."""
        logits, target = module(batch.seen.groups).float(), batch.seen.targets[0].labels
        heat = self.soft.temperature
        told = functional.log_softmax(batch.said / heat, 1)
        apart = functional.kl_div(
            functional.log_softmax(logits / heat, 1), told, reduction="none", log_target=True
        ).sum(1)
        divergence = heat**2 * torch.where(target != IGNORE_INDEX, apart, 0.0).sum()
        return LossSums(torch.cat([self.of_labels.sums(logits, target), divergence[None]]), self.counts(batch))

    def counts(self, batch: SoftlySeen) -> Tensor:
        """Return the known labels, twice."""
        return self.of_labels.counts(batch.seen.targets[0].labels, 0).repeat(2)

    def loss(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Return the weighted mean of both parts."""
        hard = self.of_labels.value(sums[:1], counts[:1])
        soft = sums[1] / counts[1].to(sums.dtype).clamp(min=1)
        return (1 - self.soft.weight) * hard + self.soft.weight * soft


def soft_teacher(soft: SoftLabelConfig, experiment: Experiment) -> TaskModel:
    """Return the teacher of soft labels, checked against the run.

    Raises:
        ConfigError: it answers another question, of other classes or another sensor, or the loss takes no soft labels.
        CheckpointError: the folder holds no fine-tuned model.
    """
    teacher = _read(checkpoint_folder(soft.teacher))
    wrong = _unlike(teacher, soft.teacher, experiment)
    if wrong:
        raise ConfigError(f"{wrong}, or leave soft out.")
    return teacher


def _unlike(teacher: TaskModel, name: Path, experiment: Experiment) -> str | None:
    """Return what keeps a teacher from the run, and what would mend it; None: nothing."""
    config, data, loss = experiment.config, experiment.data, experiment.task.loss(experiment.config.loss)
    step_px = teacher.encoder.chip_step_m // PIXEL_M
    if data.answer.several or data.answer.continuous:
        return f"task {config.task} has no soft labels; use segment, classify or change"
    if teacher.task != config.task:
        return f"the teacher {name} is of task {teacher.task}, this run of {config.task}; use a teacher of that task"
    if teacher.label_set.names != data.label_set.names:
        told, own = (", ".join(label_set.names) for label_set in (teacher.label_set, data.label_set))
        return f"the teacher {name} tells {told} apart, the shards {own}; use a teacher of these classes"
    if teacher.sensor != data.sensor:
        return f"the teacher {name} reads other bands than {data.sensor.name!r} has here; use one of these bands"
    if not loss.linear:
        return f"loss is {config.loss}, which takes no soft labels; use cross_entropy or focal"
    if config.perturb.mix != "none":
        return f"perturb.mix is {config.perturb.mix}, and mixed chips have no soft labels; set it to none"
    if experiment.chip_px % step_px:
        return (
            f"chips of {experiment.chip_px} pixels do not tile into the teacher's tokens; set chip_px={teacher.chip_px}"
        )
    return None


@cache
def _read(folder: Path) -> TaskModel:
    return load_task_model(folder).eval().requires_grad_(False)
