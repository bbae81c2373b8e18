"""The ONNX graph of a fine-tuned model: native groups as bytes in, logits out, everything else inside."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bandloom.errors import BundleError
from bandloom.export.bundle.record import CONTRACT_KEY, Contract
from bandloom.finetune.model.task_model import TaskModel

OPSET = 20  # Gelu is an operator from here on; opset 23's Attention fails TensorRT's fp32 build
EXAMPLE_BATCH = 2  # an example of 1 would fix the batch at 1 (torch.export specialises 0 and 1)
MAX_BYTES = 2_000_000_000  # of one protobuf file
FOLD_LIMIT = 1 << 26  # elements of a constant that may be computed beforehand

# what the graphs may hold: all of it is in TensorRT 10's and 11's published operator tables, fp32 to bf16
ALLOWED_OPS = frozenset(
    [
        "Add",
        "And",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "Div",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Gather",
        "Gelu",
        "Gemm",
        "Greater",
        "Identity",
        "LayerNormalization",
        "Less",
        "Log",
        "MatMul",
        "Mul",
        "Not",
        "Pow",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "DepthToSpace",
        "Transpose",
        "Unsqueeze",
        "Where",
        "Constant",
        "Reciprocal",
        "Max",
        "MaxPool",
        "Min",
        "Neg",
        "Pad",
        "QuantizeLinear",
        "DequantizeLinear",
        "InstanceNormalization",
        "AveragePool",
        "GlobalAveragePool",
    ]
)


class DeployGraph(nn.Module):
    """A model whose inputs are the byte pairs of native groups, one tensor a group, finest first."""

    def __init__(self, model: TaskModel) -> None:
        super().__init__()
        self.model = model
        self.gsds_m = tuple(group.gsd_m for group in model.sensor.groups)

    def forward(self, *pairs: Tensor) -> Tensor:
        """Return logits of ``(B, C, H, W, 2)`` uint8 pairs, low byte first."""
        groups = {gsd_m: from_byte_pairs(pair) for gsd_m, pair in zip(self.gsds_m, pairs, strict=True)}
        return self.model(groups)


def from_byte_pairs(pairs: Tensor) -> Tensor:
    """Recombine little-endian byte pairs ``(..., 2)`` uint8 into float32 digital numbers, exactly."""
    low, high = pairs.float().unbind(-1)
    return low + 256.0 * high


def write_onnx(
    graph: DeployGraph, contract: Contract, path: Path, *, opset: int = OPSET, outputs: Sequence[str] = ("logits",)
) -> None:
    """Export a deploy graph with a dynamic batch and the contract's tile, and tie the file to the contract.

    Raises:
        BundleError: the model cannot be exported, is too large, or needs an operator outside :data:`ALLOWED_OPS`.
    """
    import onnx

    proto = _trace(graph.eval(), _example(contract), [g.name for g in contract.groups], opset, outputs)
    check_ops(proto)
    onnx.helper.set_model_props(proto, {CONTRACT_KEY: contract.digest()})
    if proto.ByteSize() > MAX_BYTES:
        raise BundleError(f"the model needs {proto.ByteSize():,} bytes, one ONNX file holds {MAX_BYTES:,}.")
    onnx.save(proto, path)


def _example(contract: Contract) -> tuple[Tensor, ...]:
    side_m = contract.tile_px * 10
    return tuple(
        torch.randint(0, 16, (EXAMPLE_BATCH, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m, 2), dtype=torch.uint8)
        for g in contract.groups
    )


def _trace(  # noqa: ANN202  (onnx type)
    graph: nn.Module, example: tuple[Tensor, ...], names: Sequence[str], opset: int, outputs: Sequence[str]
):
    from onnxscript import optimizer

    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=opset,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_shapes=(tuple({0: "batch"} for _ in names),),
            external_data=False,
            optimize=True,
        )
    if program is None:
        raise BundleError("torch exported nothing; this build of torch has no ONNX exporter.")
    with _quiet():  # what the fixed sensor decides, such as carried-over weights, becomes a constant
        optimizer.optimize_ir(program.model, input_size_limit=FOLD_LIMIT, output_size_limit=FOLD_LIMIT)
    return program.model_proto if len(outputs) == 1 else _merged(program.model_proto)


def _merged(proto: Any) -> Any:
    """Compute once what several outputs need: equal constants are made one, and then equal nodes."""
    from onnx_ir import serde
    from onnx_ir.passes import common

    model = serde.deserialize_model(proto)
    common.DeduplicateHashedInitializersPass(size_limit=FOLD_LIMIT)(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    return serde.serialize_model(model)


def check_ops(proto, allowed: frozenset[str] = ALLOWED_OPS) -> None:  # noqa: ANN001  (onnx.ModelProto)
    """Check that a graph holds no operator that an engine builder may lack.

    Raises:
        BundleError: the first operators that are not allowed.
    """
    used = {node.op_type for node in proto.graph.node} | {n.op_type for f in proto.functions for n in f.node}
    if used - allowed:
        raise BundleError(
            f"the exported graph needs {', '.join(sorted(used - allowed))}, which engines may lack; change the model"
            " to build it from other operators, or add it to ALLOWED_OPS of export/from_torch/to_onnx.py."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its warnings about its own future out of the run's log."""
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [check.level for check in noisy]
    for check in noisy:
        check.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for check, level in zip(noisy, levels, strict=True):
            check.setLevel(level)
