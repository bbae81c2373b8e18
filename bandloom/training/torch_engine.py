"""Plain torch: one process, or DistributedDataParallel over gloo or NCCL."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bandloom.training.activation_checkpointing import checkpoint_blocks
from bandloom.training.engine import Engine, EngineConfig, StepReport, own_share
from bandloom.training.ranks import Ranks
from bandloom.training.schedule import learning_rate, parameter_groups
from bandloom.training.step_loss import StepLoss

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class TorchEngine(Engine):
    """Whole weights on every rank, gradients averaged by DDP."""

    def __init__(self, model: nn.Module, config: EngineConfig, ranks: Ranks, steps: int, depth: int = 0) -> None:
        self.model, self.config, self.ranks, self.steps = model.to(ranks.device), config, ranks, steps
        groups = parameter_groups(model.named_parameters(), config, depth)
        self.optimizer = make_optimizer(groups, config)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if config.activation_checkpointing:
            checkpoint_blocks(self.model)
        module: Any = torch.compile(self.model) if config.compile else self.model
        if ranks.world > 1:
            on_card = [ranks.device.index] if ranks.device.type == "cuda" else None
            # else DDP sorts its buckets anew after its first step, and with them the order in which ranks are summed:
            # the first step after a resume would differ in the last bit from the one that never stopped
            module = nn.parallel.DistributedDataParallel(module, device_ids=on_card, find_unused_parameters=True)
        self.module: nn.Module = module

    def train_step(self, micro_batches: Sequence[Any], loss: StepLoss, step: int) -> StepReport:
        """Take one step; a step that is not finite anywhere changes no weight on any rank."""
        lr = set_learning_rate(self.optimizer, self.config, step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        own = torch.zeros((), device=self.ranks.device)
        shares = loss.shares(self.module, micro_batches, self.ranks)
        for index in range(len(micro_batches)):
            with self._no_sync(skip=index == len(micro_batches) - 1):
                with self._autocast():
                    share = next(shares)
                share.backward()
            own += share.detach()
        norm = float(nn.utils.clip_grad_norm_(self.trained, self.config.clip_grad_norm))
        mean, finite = agree(self.ranks, float(own), norm)
        if finite:
            self.optimizer.step()
        return StepReport(mean, norm, lr, skipped=not finite, finite_here=math.isfinite(float(own)))

    def state(self) -> dict[str, Tensor]:
        """Return this rank's share of weights, buffers and AdamW's moments."""
        state = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        state |= optimizer_state(self.optimizer, self.model)
        own = own_share({name: value.nbytes for name, value in state.items()}, self.ranks)
        return {name: value.detach().cpu().contiguous().clone() for name, value in state.items() if name in own}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load weights and moments by name; the optimizer's state is then as if it had never stopped."""
        self.model.load_state_dict(model_state(state))
        load_optimizer_state(self.optimizer, self.model, state)

    def whole_model(self) -> nn.Module:
        """Return the model itself: every rank has all of it."""
        return self.model

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _no_sync(self, *, skip: bool) -> contextlib.AbstractContextManager[Any]:
        if skip or not isinstance(self.module, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return self.module.no_sync()


def make_optimizer(groups: list[dict[str, Any]], config: EngineConfig) -> torch.optim.Optimizer:
    """Return fused AdamW over parameter groups."""
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def agree(ranks: Ranks, loss: float, norm: float) -> tuple[float, bool]:
    """Return the mean loss over the ranks, and whether loss and gradient norm are finite on all of them."""
    total, wrong = ranks.totals([loss, float(not (math.isfinite(loss) and math.isfinite(norm)))])
    return total / ranks.world, wrong == 0


def set_learning_rate(optimizer: Any, config: EngineConfig, step: int, steps: int) -> float:
    """Set the groups' rates for a step; returns the rate before each group's own scale."""
    lr = learning_rate(config, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
    return lr


def model_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights and buffers in an engine's state, by their own names."""
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the moments of an optimizer whose parameters are the model's own, by parameter name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"optimizer.{key}.{names[id(parameter)]}": torch.as_tensor(value)
        for parameter, moments in optimizer.state.items()
        for key, value in moments.items()
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Undo :func:`optimizer_state`; a parameter without moments has had no gradient yet."""
    for name, parameter in model.named_parameters():
        moments = {key: state.get(f"optimizer.{key}.{name}") for key in MOMENTS}
        if moments["step"] is not None:
            optimizer.state[parameter] = {
                # a fused step counts on the parameter's device
                key: value.to(parameter.device, copy=True)
                for key, value in moments.items()
                if value is not None
            }
