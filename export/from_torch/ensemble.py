"""An ensemble: the mean of several models' probabilities as one model, and how much its members disagree.

Mean probabilities of networks trained from several seeds (Lakshminarayanan et al. 2017, 1612.01474). Disagreement is
the entropy of the mean less the mean of the entropies (Houlsby et al. 2011, 1112.5745): 0 where all members say the
same, however unsure they are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bandloom.errors import BundleError
from bandloom.finetune.model.task_model import TaskModel
from bandloom.tasks import TaskName

LEAST = 1e-12  # of a probability whose logarithm is taken


class Ensemble(nn.Module):
    """Several models of the same task behind the interface of one; its logits are log probabilities of the mean."""

    def __init__(self, members: Sequence[TaskModel]) -> None:
        """Take two or more calibrated models that :func:`require_alike` accepts."""
        super().__init__()
        first = members[0]
        self.members = nn.ModuleList(members)
        self.task: TaskName = first.task
        self.answer, self.target = first.answer, first.target
        self.sensor, self.label_set = first.sensor, first.label_set
        self.chip_px, self.head_kind = first.chip_px, first.head_kind
        self.temperatures = tuple(member.temperature for member in members)
        self.temperature = 1.0
        self.thresholds: tuple[float, ...] = _mean_thresholds(members)

    @property
    def encoder(self) -> Any:
        """The first member's encoder."""
        return self.members[0].encoder

    def forward(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return logits ``(B, K, ...)`` whose softmax, or sigmoid, is the mean of the members' probabilities."""
        return self.combine([member(groups) for member in self.members])[0]

    def combine(self, logits: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the ensemble's logits ``(B, K, ...)`` and its disagreement in nats, ``(B, 1, ...)``.

        Args:
            logits: each member's, ``(B, K, ...)``.
        """
        cooled = [one.float() / temperature for one, temperature in zip(logits, self.temperatures, strict=True)]
        return _several(cooled) if self.answer.several else _one_of(cooled)


def _one_of(cooled: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    logs = torch.stack([_log_softmax(one) for one in cooled])  # (M, B, K, ...)
    top = logs.amax(dim=0)
    mean = top + (logs - top).exp().mean(dim=0).log()
    entropy = -(mean.exp() * mean).sum(dim=1, keepdim=True)
    within = -(logs.exp() * logs).sum(dim=2, keepdim=True).mean(dim=0)
    return mean, (entropy - within).clamp(min=0.0)


def _log_softmax(logits: Tensor) -> Tensor:
    raised = logits - logits.amax(dim=1, keepdim=True)
    return raised - raised.exp().sum(dim=1, keepdim=True).log()


def _several(cooled: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the logits of mean sigmoids, and the mean over classes of each yes or no's disagreement."""
    shares = torch.stack([one.sigmoid() for one in cooled])  # (M, B, K, ...)
    mean = shares.mean(dim=0)
    between = _binary_entropy(mean) - _binary_entropy(shares).mean(dim=0)
    safe = mean.clamp(LEAST, 1.0), (1.0 - mean).clamp(LEAST, 1.0)
    return safe[0].log() - safe[1].log(), between.mean(dim=1, keepdim=True).clamp(min=0.0)


def _binary_entropy(share: Tensor) -> Tensor:
    other = 1.0 - share
    return -(share * share.clamp(min=LEAST).log() + other * other.clamp(min=LEAST).log())


def _mean_thresholds(members: Sequence[TaskModel]) -> tuple[float, ...]:
    held = [member.thresholds for member in members]
    return tuple(sum(column) / len(held) for column in zip(*held, strict=True)) if all(held) else ()


def require_alike(models: Sequence[TaskModel], places: Sequence[Path]) -> None:
    """Check that models answer one question of one kind of scene, so that their probabilities may be averaged.

    Args:
        models: two or more.
        places: where each comes from.

    Raises:
        BundleError: there are fewer than two, they predict values, or the first thing in which one differs.
    """
    if len(models) < 2:
        raise BundleError(
            f"an ensemble needs two models or more, and {places[0]} holds one; train it with seeds=3, or name several"
            " runs: bandloom export RUN RUN --ensemble."
        )
    if models[0].answer.continuous:
        raise BundleError(
            f"{places[0]} predicts values, and ensembles are of models that predict classes; leave --ensemble out."
        )
    first = _facts(models[0])
    for model, place in zip(models[1:], places[1:], strict=True):
        for what, value in _facts(model).items():
            if value != first[what]:
                raise BundleError(
                    f"{place} is of another {what} than {places[0]} ({_short(value)} and {_short(first[what])}); an"
                    " ensemble is of runs that differ in their seed."
                )


def _facts(model: TaskModel) -> dict[str, Any]:
    """Return what members share, by its name for people."""
    sensor = model.sensor
    return {
        "task": model.task,
        "label set": [(land_class.code, land_class.name) for land_class in model.label_set.classes],
        "level": sensor.reflectance,
        "sensor": sensor.name,
        "set of bands": [(band.name, band.slot, band.stored_gsd_m) for g in sensor.groups for band in g.bands],
        "token_m": model.encoder.config.token_m,
        "chip_px": model.chip_px,
    }


def _short(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return f"{len(value)}: {', '.join(str(item[0]) if len(item) > 2 else str(item[1]) for item in value)}"
