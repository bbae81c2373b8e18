"""Range audit for 16 bits: measures every layer on real chips; one that reaches too far stays in fp32.

A residual channel that passes 65504 turns an fp16 engine's whole answer into NaN, and parity on a machine that
secretly computes wider does not show it; the range of each layer in fp32 does. Attention scores are held to a closer
limit: softmax turns their absolute error into a relative one of the weights, in bf16 as well.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import byte_pairs
from bandloom.export.from_torch.half_precision import (
    DTYPES,
    WIDE_NORMS,
    CastGraph,
    HalfPrecision,
    WideSoftmaxAttention,
    in_embedding,
)
from bandloom.export.from_torch.held_chips import Chips
from bandloom.finetune.model.task_model import TaskModel
from bandloom.public_encoders.positioned_block import PositionedAttention

HEADROOM = 4.0  # other scenes reach further than the audited chips
ATTENTION = (WideSoftmaxAttention, PositionedAttention)  # modules whose own operations are attention scores
FIRST_BLOCK = "encoder.blocks.0."  # which reads what the embedding gives
MOST_SCORE_ERROR = 0.5  # of an attention score, from its rounding to 16 bits: exp(0.5) is 1.65 of a weight


def audit_ranges(model: TaskModel, chips: Iterable[Chips]) -> dict[str, float]:
    """Return the largest magnitude that each layer of the 16-bit part reaches in fp32, by its name in the model."""
    graph = CastGraph(model, "fp32")
    watched = _Ranges()
    handles = [hook for name, module in graph.named_modules() for hook in watched.follow(name, module)]
    try:
        with torch.no_grad(), watched:
            for groups in (part for chip_set in chips for part in chip_set.batches()):
                graph(*(torch.from_numpy(byte_pairs(groups[gsd_m])) for gsd_m in graph.gsds_m))
    finally:
        for handle in handles:
            handle.remove()
    return dict(watched.largest)


def wide_layers(model: TaskModel, ranges: dict[str, float], precision: HalfPrecision) -> tuple[str, ...]:
    """Return the names of the layers that stay in fp32 within a 16-bit model.

    Args:
        model: in fp32.
        ranges: what :func:`audit_ranges` measured of it.
        precision: of the model that is written.

    Raises:
        BundleError: a layer is not finite in fp32 either.
    """
    graph, kind = CastGraph(model, "fp32"), torch.finfo(DTYPES[precision])
    wide = []
    for name, reached in ranges.items():
        if not reached < float("inf"):
            raise BundleError(
                f"layer {name} reaches {reached} on the audited chips, in fp32 too; train the model again."
            )
        attention = isinstance(graph.model.get_submodule(name), ATTENTION)
        score = MOST_SCORE_ERROR / (kind.eps / 2)  # rounding errs by half of the last place
        if reached > (min(score, kind.max / HEADROOM) if attention else kind.max / HEADROOM):
            wide += [name, f"{name}.qkv"] if attention else [name]  # scores multiply what rounds in queries and keys
    if any(layer.startswith(FIRST_BLOCK) and layer.endswith(".qkv") for layer in wide):
        wide += [name for name, _ in model.named_modules() if in_embedding(name)]  # and in what these are made of
    return tuple(dict.fromkeys(wide))


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
            for tensor in result if isinstance(result, tuple | list) else (result,):
                if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                    name, reached = self._inside[-1][0], float(tensor.detach().abs().max())
                    self.largest[name] = reached if reached != reached else max(self.largest[name], reached)
        return result
