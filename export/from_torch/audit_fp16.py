"""Overflow audit for 16 bits: every intermediate of real chips is checked before an fp16 model is written.

A residual channel that passes 65504 turns an fp16 engine's whole answer into NaN, and parity on a machine that
secretly computes wider does not show it; the range of each layer in fp32 does.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import byte_pairs
from bandloom.export.from_torch.half_precision import WIDE_NORMS, CastGraph
from bandloom.export.from_torch.held_chips import Chips
from bandloom.finetune.model.task_model import TaskModel

FP16_MAX = 65504.0
HEADROOM = 4.0  # other scenes reach further than the audited chips


def audit_ranges(model: TaskModel, chips: Chips) -> dict[str, float]:
    """Return the largest magnitude that each layer of the 16-bit part reaches in fp32, by its name in the model."""
    graph = CastGraph(model, "fp32")
    watched = _Ranges()
    handles = [hook for name, module in graph.named_modules() for hook in watched.follow(name, module)]
    try:
        with torch.no_grad(), watched:
            for groups in chips.batches():
                graph(*(torch.from_numpy(byte_pairs(groups[gsd_m])) for gsd_m in graph.gsds_m))
    finally:
        for handle in handles:
            handle.remove()
    return dict(watched.largest)


def require_fp16(ranges: dict[str, float]) -> None:
    """Refuse fp16 when a layer comes too near its end.

    Raises:
        BundleError: names the layer that reaches furthest, and offers bf16.
    """
    layer, reached = max(ranges.items(), key=lambda item: item[1] if item[1] == item[1] else float("inf"))
    if not reached <= FP16_MAX / HEADROOM:
        raise BundleError(
            f"fp16 would overflow: layer {layer} reaches {reached:.4g} on the audited chips, more than"
            f" {FP16_MAX / HEADROOM:.0f} (a quarter of fp16's largest number); use --precision bf16 instead."
        )


class _Ranges(TorchDispatchMode):
    """Records the largest magnitude of every operation's result under the innermost module that runs it.

    What runs in fp32 in the 16-bit model too is left out: layer norms, and the frames of the graph and of the model
    themselves, which turn bytes into samples.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest: dict[str, float] = defaultdict(float)
        self._inside: list[tuple[str, nn.Module]] = []

    def follow(self, name: str, module: nn.Module) -> list[Any]:
        """Hook a module so that its operations are recorded under its name."""

        def enter(module: nn.Module, _: Any) -> None:
            self._inside.append((name.removeprefix("model."), module))

        def leave(*_: Any) -> None:
            self._inside.pop()

        return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if len(self._inside) > 2 and not any(isinstance(module, WIDE_NORMS) for _, module in self._inside):
            for each in result if isinstance(result, tuple | list) else (result,):
                if isinstance(each, Tensor) and each.is_floating_point() and each.numel():
                    name = self._inside[-1][0]
                    self.largest[name] = max(self.largest[name], float(each.detach().abs().max()))
        return result
