"""Plain torch: one process, or DistributedDataParallel over gloo or NCCL."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bandloom.training.blocks import checkpoint_blocks, compile_blocks
from bandloom.training.engine import Engine, EngineConfig, LateReport, StepReport, after_step, own_share
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
        if config.compile:
            compile_blocks(self.model)
        module: Any = self.model
        self._grouped = ranks.world > 1 or config.ddp == "always"
        if self._grouped:
            ranks.start(alone=True)
            on_card = [ranks.device.index] if ranks.device.type == "cuda" else None
            # else DDP sorts its buckets anew after its first step, and with them the order in which ranks are summed:
            # the first step after a resume would differ in the last bit from the one that never stopped
            module = nn.parallel.DistributedDataParallel(module, device_ids=on_card, find_unused_parameters=True)
        self.module: nn.Module = module

    def train_step(
        self, micro_batches: Sequence[Any], loss: StepLoss, step: int, *, stop: bool = False
    ) -> StepReport | LateReport:
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
        norm = nn.utils.clip_grad_norm_(self.trained, self.config.clip_grad_norm)
        if self.ranks.device.type == "cuda":
            return self._finish_on_card(own, norm, lr, stop, step)
        report = agree(self.ranks, float(own), float(norm), lr, stop=stop)
        if not report.skipped:
            self.optimizer.step()
        after_step(self.model, step, self.steps, self.ranks)
        return report

    def _finish_on_card(self, own: Tensor, norm: Tensor, lr: float, stop: bool, step: int) -> LateReport:
        """Update the weights unless a number is not finite, all on the device: the host need not wait for the step."""
        wrong = ~(own.isfinite() & norm.isfinite())
        sums = torch.stack([own.double(), wrong.double(), torch.full_like(own, float(stop), dtype=torch.float64)])
        if self._grouped:
            dist.all_reduce(sums)
        optimizer: Any = self.optimizer
        optimizer.grad_scale, optimizer.found_inf = None, (sums[1] > 0).float()  # fused AdamW changes nothing then
        optimizer.step()
        after_step(self.model, step, self.steps, self.ranks)
        told = torch.cat([sums, torch.stack([own.double(), norm.double()])]).to("cpu", non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def wait() -> StepReport:
            done.synchronize()
            total, wrong_on, stopped, loss, of_gradients = told.tolist()
            return StepReport(
                total / self.ranks.world, of_gradients, lr, wrong_on > 0, math.isfinite(loss), stopped > 0
            )

        return LateReport(wait)

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


def agree(ranks: Ranks, loss: float, norm: float, lr: float, *, stop: bool) -> StepReport:
    """Return the same report on all ranks: the mean loss, whether all numbers are finite, whether any is to stop."""
    wrong = not (math.isfinite(loss) and math.isfinite(norm))
    total, wrong_on, stopped = ranks.totals([loss, float(wrong), float(stop)])
    return StepReport(total / ranks.world, norm, lr, wrong_on > 0, math.isfinite(loss), stopped > 0)


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
