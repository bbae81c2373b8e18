"""The training engine: one interface; plain torch (DDP where there are ranks) or DeepSpeed, by config alone.

``engine.train_step(micro_batches, loss, step)`` runs one optimizer step over this rank's micro batches. What has
to be the same on all ranks (loss, gradient norm, whether the step was finite) is agreed before it returns.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from bandloom.command_line.config import ANY_TIME, WHEN_RESUMED, Config, ReadWhen
from bandloom.training.precision import Precision
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import StepLoss


class EngineConfig(Config):
    """How the weights are trained."""

    kind: Annotated[Literal["torch", "deepspeed"], ANY_TIME] = Field(
        default="torch", description="plain torch (DDP over the ranks) or DeepSpeed"
    )
    lr: Annotated[float, WHEN_RESUMED] = Field(default=1.5e-3, gt=0, description="peak learning rate")
    min_lr_ratio: Annotated[float, WHEN_RESUMED] = Field(
        default=0.01, ge=0, le=1, description="last learning rate over the peak"
    )
    warmup_steps: Annotated[int, WHEN_RESUMED] = Field(
        default=100, ge=0, description="steps of linear warm-up before the cosine"
    )
    weight_decay: Annotated[float, WHEN_RESUMED] = Field(
        default=0.05, ge=0, description="AdamW's decay, on matrices alone"
    )
    betas: Annotated[tuple[float, float], WHEN_RESUMED] = Field(
        default=(0.9, 0.95), description="AdamW's betas; 0.95 is MAE's for pretraining"
    )
    clip_grad_norm: Annotated[float, WHEN_RESUMED] = Field(
        default=1.0, gt=0, description="gradients are scaled down to this norm"
    )
    precision: Annotated[Precision, WHEN_RESUMED] = Field(
        default="auto", description="autocast type; auto: bf16 where the hardware has it. Weights and moments stay fp32"
    )
    accumulate: Annotated[int, ANY_TIME] = Field(default=1, gt=0, description="micro batches an optimizer step")
    activation_checkpointing: Annotated[bool, ANY_TIME] = Field(
        default=False, description="compute blocks again on the way back: a third more time, far less memory"
    )
    compile: Annotated[bool, ANY_TIME] = Field(
        default=False, description="torch.compile every transformer block; compare the losses before you trust it"
    )
    ddp: Annotated[Literal["several", "always"], ANY_TIME, ReadWhen("kind", ("torch",))] = Field(
        default="several", description="always: DDP and its process group with one process too, to try them on one GPU"
    )
    layer_decay: Annotated[float | None, WHEN_RESUMED] = Field(
        default=None, gt=0, le=1, description="learning rate factor a block, towards the input"
    )
    max_skipped: Annotated[int, WHEN_RESUMED] = Field(
        default=5, gt=0, description="steps in a row that may be skipped as not finite before the run stops"
    )
    zero_stage: Annotated[Literal[0, 1, 2, 3], ANY_TIME, ReadWhen("kind", ("deepspeed",))] = Field(
        default=0, description="DeepSpeed's sharding: 0 for S and B, 1 for L, H and g; more only when memory is short"
    )
    deepspeed: Annotated[dict[str, Any] | Path, ANY_TIME, ReadWhen("kind", ("deepspeed",))] = Field(
        default_factory=dict, description="merged into DeepSpeed's config: keys, or the path of a ds_config.json"
    )


@dataclass(frozen=True)
class StepReport:
    """What one step did, the same on all ranks but for ``finite_here``."""

    loss: float
    grad_norm: float
    lr: float
    skipped: bool
    finite_here: bool = True  # this rank's own loss, to find the samples at fault
    stop: bool = False  # whether any rank was asked to stop before this step

    def read(self) -> "StepReport":
        """Return itself; see :class:`LateReport`."""
        return self


class LateReport:
    """The report of a step that a GPU still computes: reading it waits for the step.

    Args:
        wait: returns the report when the step is done.
    """

    def __init__(self, wait: Callable[[], StepReport]) -> None:
        self._wait = wait
        self._report: StepReport | None = None

    def read(self) -> StepReport:
        """Wait for the step, the first time, and return what it did."""
        if self._report is None:
            self._report = self._wait()
        return self._report


class Engine(ABC):
    """Trains one model; see the module's first lines."""

    ranks: Ranks
    model: nn.Module
    config: EngineConfig
    steps: int

    @abstractmethod
    def train_step(
        self, micro_batches: Sequence[Any], loss: StepLoss, step: int, *, stop: bool = False
    ) -> StepReport | LateReport:
        """Take optimizer step ``step`` on this rank's micro batches; one that is not finite changes no weight.

        Args:
            micro_batches: ``config.accumulate`` of them, what ``loss`` understands.
            loss: what the step minimises, the same number however the batch is cut.
            step: 0 is the first; decides the learning rate.
            stop: whether this rank was asked to stop; the report tells every rank whether any was.

        Returns:
            What the step did; of a GPU's step it may be read later, so that the next one is prepared meanwhile.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return this rank's share of what a resumed run needs, on the CPU; the shares of all ranks are the whole.

        Names are ``model.PARAMETER`` and ``optimizer.MOMENT.PARAMETER``, the same for every engine. All ranks call it.
        """

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load the whole state, from whatever engine and number of ranks saved it."""

    @abstractmethod
    def whole_model(self) -> nn.Module:
        """Return the model with all its weights, to save or to look at; all ranks call it, each may run it alone."""


def after_step(model: nn.Module, step: int, steps: int, ranks: Ranks) -> None:
    """Tell a model that asks for it that a step is over, taken or skipped: what moves between steps moves now."""
    told: Any = getattr(model, "after_step", None)
    if told is not None:
        told((step + 1) / steps, ranks)


def own_share(sizes: Mapping[str, int], ranks: Ranks) -> set[str]:
    """Return the names that this rank writes: largest first, each to the rank that has least, the same on all ranks."""
    load = [0] * ranks.world
    mine = set()
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        owner = load.index(min(load))
        load[owner] += size
        if owner == ranks.rank:
            mine.add(name)
    return mine
