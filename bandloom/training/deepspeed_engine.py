"""DeepSpeed behind the engine's interface: ZeRO stages 0 to 3 over fp32 weights, with our schedule and finite check.

Weights and moments are read and set by parameter name, whole, so a snapshot does not know the stage, the number of
ranks or the engine that wrote it. bf16 comes from ``torch_autocast`` alone.
"""

import contextlib
import copy
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bandloom.errors import ConfigError, MissingExtraError
from bandloom.training.blocks import checkpoint_blocks
from bandloom.training.deepspeed_build import prepare_build
from bandloom.training.deepspeed_config import deepspeed_config
from bandloom.training.engine import Engine, EngineConfig, StepReport, after_step, own_share
from bandloom.training.ranks import Ranks
from bandloom.training.schedule import parameter_groups
from bandloom.training.step_loss import StepLoss
from bandloom.training.torch_engine import agree, load_optimizer_state, make_optimizer, model_state, set_learning_rate

MOMENTS = ("exp_avg", "exp_avg_sq")


class DeepSpeedEngine(Engine):
    """A DeepSpeed engine; see the module's first lines.

    Raises:
        ConfigError: ZeRO stage 3 for a model with a weight of one number.
    """

    def __init__(self, model: nn.Module, config: EngineConfig, ranks: Ranks, steps: int, depth: int = 0) -> None:
        if config.zero_stage == 3 and (scalar := next((n for n, p in model.named_parameters() if p.ndim == 0), None)):
            raise ConfigError(
                f"zero_stage is 3, at which DeepSpeed cannot part a weight of one number ({scalar}); set"
                " trainer.engine.zero_stage to 2 or less."
            )
        deepspeed = _start(ranks)
        self.config, self.ranks, self.steps, self.stage = config, ranks, steps, config.zero_stage
        self.model = model.to(ranks.device)
        self._plain = copy.deepcopy(model) if self.stage == 3 else None
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        groups = parameter_groups(model.named_parameters(), config, depth)
        self.trained = [parameter for group in groups for parameter in group["params"]]
        if config.activation_checkpointing:
            checkpoint_blocks(model)
        with _scalars_sent(model, ranks):
            self.engine: Any = deepspeed.initialize(
                model=model, optimizer=make_optimizer(groups, config), config=deepspeed_config(config)
            )[0]
        if config.compile:
            self.engine.compile()

    def train_step(self, micro_batches: Sequence[Any], loss: StepLoss, step: int, *, stop: bool = False) -> StepReport:
        """Take one step; a step that is not finite anywhere changes no weight on any rank."""
        lr = set_learning_rate(self.engine.optimizer, self.config, step, self.steps)
        own = torch.zeros((), device=self.ranks.device)
        shares = loss.shares(self.engine, micro_batches, self.ranks)
        for index in range(len(micro_batches)):
            share = next(shares)
            self.engine.backward(share * len(micro_batches))  # DeepSpeed divides by them itself
            own += share.detach().float()
            if index < len(micro_batches) - 1:
                self.engine.step()
        norm = self._finish_step()
        after_step(self.model, step, self.steps, self.ranks)
        return agree(self.ranks, float(own), norm, lr, stop=stop)

    def state(self) -> dict[str, Tensor]:
        """Return this rank's share; every rank takes part in putting each sharded tensor together."""
        sizes = {name: _numel(parameter) for name, parameter in self.model.named_parameters()}
        buffers = {name: value for name, value in self.model.state_dict().items() if name not in sizes}
        own = own_share(sizes | {name: value.numel() for name, value in buffers.items()}, self.ranks)
        if self.stage in (1, 2) and self._step_count() is not None:
            self._link_moments()
        state = {f"model.{name}": _copied(value) for name, value in buffers.items() if name in own}
        for name, parameter in self.model.named_parameters():
            tensors = self._whole(name, parameter)
            if name in own:
                state |= {key: _copied(value) for key, value in tensors.items()}
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Set weights, masters and moments by parameter name."""
        weights = model_state(state)
        with self._gathered(modify=True):
            if self.stage != 3 or self.ranks.rank == 0:
                self.model.load_state_dict(weights)
        if self.stage == 0:
            load_optimizer_state(self.engine.optimizer, self.model, state)
            return
        step = next((value for name, value in state.items() if name.startswith("optimizer.step.")), None)
        if step is not None:
            self._make_moments(step)
        for parameter in self.trained:
            name = self.names[id(parameter)]
            self._set(parameter, weights[name], None)
            for key in MOMENTS if step is not None else ():
                moment = state.get(f"optimizer.{key}.{name}")
                self._set(parameter, torch.zeros_like(weights[name]) if moment is None else moment, key)

    def whole_model(self) -> nn.Module:
        """Return the model, or at stage 3 a plain copy with all weights put together."""
        if self._plain is None:
            return self.model
        with self._gathered(modify=False):
            self._plain.load_state_dict({name: value.detach() for name, value in self.model.state_dict().items()})
        return self._plain

    def _finish_step(self) -> float:
        """Let DeepSpeed take the step, clipped, unless a gradient is not finite; returns the norm before clipping."""
        if self.stage == 0:
            # no check of DeepSpeed's own here, and it must count the step all the same
            norm = _norm(self.trained)
            update = contextlib.nullcontext() if math.isfinite(norm) else _without_update(self.engine.optimizer)
            with update, _scalars_as_rows(self.engine.optimizer, self.trained):
                self.engine.step()
            return norm
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return math.nan if norm is None or not self.engine.was_step_applied() else float(norm)

    def _whole(self, name: str, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Return one parameter's fp32 weight and moments, put together over the ranks."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state  # type: ignore[import-not-found]

        if self.stage == 0 or not parameter.requires_grad:
            with self._gathered(modify=False, parameters=[parameter]):
                tensors = {f"model.{name}": parameter.detach().clone()}
            if self.stage == 0:
                moments = self.engine.optimizer.state.get(parameter, {})
                tensors |= {f"optimizer.{key}.{name}": torch.as_tensor(value) for key, value in moments.items()}
            return tensors
        tensors = {f"model.{name}": _present(safe_get_full_fp32_param(parameter))}
        step = self._step_count()
        if step is not None:
            tensors |= {
                f"optimizer.{key}.{name}": _present(safe_get_full_optimizer_state(parameter, key)) for key in MOMENTS
            }
            tensors[f"optimizer.step.{name}"] = step
        return tensors

    def _flat(self) -> list[Tensor]:
        """Return this rank's flat fp32 masters, one a parameter group."""
        zero = self.engine.optimizer
        return list(zero.fp32_partitioned_groups_flat if self.stage == 3 else zero.single_partition_of_fp32_groups)

    def _step_count(self) -> Tensor | None:
        inner = self.engine.optimizer.optimizer.state
        held = [inner[flat]["step"] for flat in self._flat() if "step" in inner.get(flat, {})]
        return torch.as_tensor(held[0]).detach() if held else None

    def _make_moments(self, step: Tensor) -> None:
        """Give the inner AdamW its state before its first step, so that there is something to set."""
        inner = self.engine.optimizer.optimizer.state
        for flat in self._flat():
            inner[flat] = {"step": step.to(flat.device, copy=True)} | {key: torch.zeros_like(flat) for key in MOMENTS}
        if self.stage < 3:
            self._link_moments()

    def _link_moments(self) -> None:
        """Let parameters find their moments: DeepSpeed links once, when only the first group has any (0.19.8)."""
        zero = self.engine.optimizer
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()

    def _set(self, parameter: nn.Parameter, value: Tensor, key: str | None) -> None:
        """Set this rank's part of a weight (key None) or moment."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state  # type: ignore[import-not-found]

        value = value.to(self.ranks.device)
        if self.stage == 3:
            zero: Any = self.engine.optimizer
            part, _ = zero._get_fp32_opt_state_partition(parameter, release_swap_buffers=False, optim_state_key=key)
            flat = nn.functional.pad(value.flatten(), (0, part.numel() * self.ranks.world - value.numel()))
            part.data.copy_(flat.narrow(0, part.numel() * self.ranks.rank, part.numel()))
        elif key is None:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, key)

    @contextlib.contextmanager
    def _gathered(self, *, modify: bool, parameters: list[nn.Parameter] | None = None) -> Iterator[None]:
        """At stage 3 put parameters together; with ``modify`` what rank 0 changes goes out to all."""
        if self.stage < 3:
            yield
            return
        import deepspeed  # type: ignore[import-not-found]

        chosen = parameters if parameters is not None else list(self.model.parameters())
        with deepspeed.zero.GatheredParameters(chosen, modifier_rank=0 if modify else None):
            yield


def _start(ranks: Ranks) -> Any:
    """Import DeepSpeed quietly and let it take over the group of processes."""
    try:
        import deepspeed  # type: ignore[import-not-found]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("deepspeed", "deepspeed") from cause
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    prepare_build(ranks.device)
    os.environ.setdefault("LOCAL_RANK", str(ranks.local_rank))  # DeepSpeed asks for it even in one process
    if not dist.is_initialized():
        dist.init_process_group(
            "nccl" if ranks.device.type == "cuda" else "gloo", store=dist.HashStore(), rank=0, world_size=1
        )
    deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False, verbose=False)
    return deepspeed


@contextlib.contextmanager
def _scalars_sent(model: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Send weights without a dimension from rank 0: DeepSpeed views weights as bytes to send them, and fails on those.

    Meanwhile they carry the mark that makes it pass them over (0.19.8).
    """
    scalars = [parameter for parameter in model.parameters() if parameter.ndim == 0]
    for scalar in scalars:
        if ranks.world > 1:
            dist.broadcast(scalar.data, 0)
        scalar.ds_optim_param = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for scalar in scalars:
            del scalar.ds_optim_param  # type: ignore[attr-defined]


@contextlib.contextmanager
def _scalars_as_rows(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Give weights without a dimension one for a step: DeepSpeed clips by a factor of shape (1,) in place (0.19.8)."""
    scalars = [parameter for parameter in parameters if parameter.ndim == 0]

    def shape(*sides: int) -> None:
        for scalar in scalars:
            gradient, scalar.grad = scalar.grad, None
            scalar.data = scalar.data.view(sides)
            scalar.grad = None if gradient is None else gradient.view(sides)
            state = optimizer.state.get(scalar, {})
            state.update({key: state[key].view(sides) for key in MOMENTS if key in state})

    shape(1)
    try:
        yield
    finally:
        shape()


@contextlib.contextmanager
def _without_update(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let an optimizer's step change nothing."""
    step = optimizer.step
    optimizer.step = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        optimizer.step = step  # type: ignore[method-assign]


def _norm(parameters: Sequence[nn.Parameter]) -> float:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def _numel(parameter: nn.Parameter) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))  # a sharded parameter shows none of its own


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


def _present(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise RuntimeError("DeepSpeed returned no tensor for a parameter that trains")
    return tensor.detach()
