"""The training engine: one interface; plain torch (DDP where there are ranks) here, DeepSpeed by config alone.

``engine.train_step(micro_batches, loss_of, step)`` runs one optimizer step over this rank's micro batches. What has
to be the same on all ranks (loss, gradient norm, whether the step was finite) is agreed before it returns.
"""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bandloom.config import Config
from bandloom.ranks import Ranks

LossOf = Callable[[nn.Module, Any], Tensor]


class EngineConfig(Config):
    """How the weights are trained."""

    kind: Literal["torch", "deepspeed"] = Field(
        default="torch", description="plain torch (DDP over the ranks) or DeepSpeed"
    )
    lr: float = Field(default=1.5e-3, gt=0, description="peak learning rate")
    min_lr_ratio: float = Field(default=0.01, ge=0, le=1, description="last learning rate over the peak")
    warmup_steps: int = Field(default=100, ge=0, description="steps of linear warm-up before the cosine")
    weight_decay: float = Field(default=0.05, ge=0, description="AdamW's decay, on matrices alone")
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="AdamW's betas; 0.95 is MAE's for pretraining")
    clip_grad_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    precision: Literal["fp32", "bf16"] = Field(
        default="bf16", description="autocast type; weights and moments stay fp32"
    )
    accumulate: int = Field(default=1, gt=0, description="micro batches an optimizer step")
    compile: bool = Field(default=False, description="torch.compile the model; compare the losses before you trust it")
    layer_decay: float | None = Field(
        default=None, gt=0, le=1, description="learning rate factor a block, towards the input"
    )
    max_skipped: int = Field(
        default=5, gt=0, description="steps in a row that may be skipped as not finite before the run stops"
    )
    deepspeed: dict[str, Any] = Field(default_factory=dict, description="merged into DeepSpeed's config")


@dataclass(frozen=True)
class StepReport:
    """What one step did, the same on all ranks."""

    loss: float
    grad_norm: float
    lr: float
    skipped: bool


def learning_rate(config: EngineConfig, step: int, steps: int) -> float:
    """Return the rate of step ``step`` (0 is the first) of ``steps``: linear warm-up, then half a cosine."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], config: EngineConfig, depth: int = 0
) -> list[dict[str, Any]]:
    """Return AdamW's groups: no decay on vectors, and a learning rate that falls by ``layer_decay`` a block.

    Args:
        named: the parameters that train, by name.
        config: decay and layer decay.
        depth: number of encoder blocks, needed for layer decay.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        decay = config.weight_decay if parameter.ndim > 1 and not name.endswith("embed.absent") else 0.0
        scale = 1.0 if config.layer_decay is None else config.layer_decay ** (depth + 1 - _layer_of(name, depth))
        group = groups.setdefault((decay, scale), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(parameter)
    return list(groups.values())


def _layer_of(name: str, depth: int) -> int:
    """Return 0 for the embedding, 1.. for the blocks, depth + 1 for what follows (BEiT's layer ids)."""
    if "encoder." in name:
        inner = name.split("encoder.", 1)[1]
        if inner.startswith("embed."):
            return 0
        if inner.startswith("blocks."):
            return int(inner.split(".")[1]) + 1
    return depth + 1


class Engine(ABC):
    """Trains one model; see the module's first lines."""

    ranks: Ranks
    model: nn.Module
    config: EngineConfig
    steps: int

    @abstractmethod
    def train_step(self, micro_batches: Sequence[Any], loss_of: LossOf, step: int) -> StepReport:
        """Take optimizer step ``step`` on this rank's micro batches.

        Args:
            micro_batches: ``config.accumulate`` of them, what ``loss_of`` understands.
            loss_of: ``(module, micro_batch) -> scalar``, the mean over the micro batch; calls the module it is given.
            step: 0 is the first; decides the learning rate.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what a resumed run needs, by name: ``model.*`` and, by parameter name, the optimizer's moments."""

    @abstractmethod
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load what :meth:`state` returned, from whatever number of ranks."""


def make_engine(model: nn.Module, config: EngineConfig, ranks: Ranks, steps: int, depth: int = 0) -> Engine:
    """Return the engine that ``config.kind`` names, with ``model`` on the rank's device."""
    if config.kind == "deepspeed":
        from bandloom.deepspeed_engine import DeepSpeedEngine

        return DeepSpeedEngine(model, config, ranks, steps, depth)
    return TorchEngine(model, config, ranks, steps, depth)


class TorchEngine(Engine):
    """Plain torch: one process, or DistributedDataParallel over gloo or NCCL."""

    def __init__(self, model: nn.Module, config: EngineConfig, ranks: Ranks, steps: int, depth: int = 0) -> None:
        self.model, self.config, self.ranks, self.steps = model.to(ranks.device), config, ranks, steps
        groups = parameter_groups(model.named_parameters(), config, depth)
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
        self.trained = [parameter for group in groups for parameter in group["params"]]
        module: Any = torch.compile(self.model) if config.compile else self.model
        if ranks.world > 1:
            on_card = [ranks.device.index] if ranks.device.type == "cuda" else None
            # gradients of slots that no sample of a batch fills are absent on some ranks
            module = nn.parallel.DistributedDataParallel(module, device_ids=on_card, find_unused_parameters=True)
        self.module: nn.Module = module

    def train_step(self, micro_batches: Sequence[Any], loss_of: LossOf, step: int) -> StepReport:
        """Take one step; a step that is not finite anywhere changes no weight on any rank."""
        lr = self._set_lr(step)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for index, batch in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            with self._no_sync(skip=last), self._autocast():
                loss = loss_of(self.module, batch) / len(micro_batches)
            with self._no_sync(skip=last):
                loss.backward()
            total += float(loss.detach())
        total = self.ranks.total(total) / self.ranks.world
        norm = float(nn.utils.clip_grad_norm_(self.trained, self.config.clip_grad_norm))
        finite = self.ranks.all(math.isfinite(total) and math.isfinite(norm))
        if finite:
            self.optimizer.step()
        return StepReport(total, norm, lr, skipped=not finite)

    def state(self) -> dict[str, Tensor]:
        """Return weights, buffers and AdamW's moments by parameter name, on the CPU."""
        state = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for parameter, moments in self.optimizer.state.items():
            for key, value in moments.items():
                state[f"optimizer.{key}.{names[id(parameter)]}"] = torch.as_tensor(value)
        return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Load weights and moments by name; the optimizer's state is then as if it had never stopped."""
        weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
        self.model.load_state_dict(weights)
        for name, parameter in self.model.named_parameters():
            moments = {key: state.get(f"optimizer.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            if moments["step"] is not None:
                self.optimizer.state[parameter] = {
                    key: value.clone().to(parameter.device) for key, value in moments.items() if value is not None
                }

    def _set_lr(self, step: int) -> float:
        lr = learning_rate(self.config, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        return lr

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _no_sync(self, *, skip: bool) -> contextlib.AbstractContextManager[Any]:
        if skip or not isinstance(self.module, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return self.module.no_sync()
