"""The task record: answer, data, losses, baselines and scorer of a task, frozen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bandloom.errors import ConfigError
from bandloom.finetune.baselines.pixel_networks import NetworkMaker
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import Split
from bandloom.finetune.scores.row import Row
from bandloom.finetune.scores.scorer import Scorer
from bandloom.finetune.training.losses import Loss
from bandloom.sensors import Sensor
from bandloom.tasks import Answer, TaskName

MakeData = Callable[[Any, FinetuneConfig, Split, Sensor], TaskData]
RunBaselines = Callable[[Sequence[str], TaskData, int, Mapping[str, Any]], list[Row]]


@dataclass(frozen=True)
class FinetuneTask:
    """Everything that fine-tuning, probes, baselines and evaluation need to know of a task.

    Args:
        answer: what it answers; the task's name is in it.
        data: the class of its labelled samples, for a split.
        make_data: opens them as a config says.
        losses: by name, the usual one first.
        scorer: how its answers are scored.
        baselines: by name: what a run can be scored beside.
        standard: which of them every fine-tuning is scored beside.
        run_baselines: fits and scores named baselines, given the data, a seed and what is known by name.
        networks: by name: networks from scratch that `bandloom baselines` trains beside them.
        leakage: the baseline that tells how much a random split flatters; None: not measured.
        probed: whether frozen features are probed for its labels.
        published_score: the score that public benchmarks report of such a task; None: it has no row in `bench`.
    """

    answer: Answer
    data: type[TaskData]
    make_data: MakeData
    losses: Mapping[str, Loss]
    scorer: Scorer
    baselines: Mapping[str, Any]
    standard: tuple[str, ...]
    run_baselines: RunBaselines
    networks: Mapping[str, NetworkMaker] = field(default_factory=dict)
    leakage: str | None = None
    probed: bool = False
    published_score: str | None = None

    @property
    def name(self) -> TaskName:
        """Its name, as in a config."""
        return self.answer.task

    def loss(self, name: str | None) -> Loss:
        """Return the named loss, or the task's usual one.

        Raises:
            ConfigError: the loss is made for another task.
        """
        name = name or next(iter(self.losses))
        if name not in self.losses:
            raise ConfigError(
                f"loss is {name!r}, which task {self.name} cannot use; use one of {', '.join(self.losses)}."
            )
        return self.losses[name]
