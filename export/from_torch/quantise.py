"""INT8 by static quantisation: Q/DQ pairs around the linear layers, ranges from calibration chips.

Only products with a constant weight are quantised, per output channel and symmetric, which is what TensorRT and ONNX
Runtime both take. Weights keep to seven bits (-64 to 64): a processor without VNNI adds two products of eight-bit
numbers in sixteen bits (``vpmaddubsw``), which saturates at 2 x 255 x 127 and cannot at 2 x 255 x 64, so that every
processor gives one answer (docs/decisions/int8.md). The embedding of the samples, the products inside attention and
the last linear layer stay in fp32: they are a few percent of the work and most of the error. So do the blocks that hold
a layer whose range 16 bits do not bear: large attention scores multiply what was rounded before them. Convolutions are
quantised in a convolutional encoder alone: those of a head read the pixels themselves.
"""

import ast
import logging
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import group_feed
from bandloom.export.bundle.record import CONTRACT_KEY
from bandloom.export.from_torch.half_precision import in_embedding
from bandloom.export.from_torch.held_chips import Chips

SCOPES_KEY = "pkg.torch.onnx.name_scopes"  # what torch's exporter notes of a node: the modules that it came from


def blocks_of(layers: Iterable[str]) -> tuple[str, ...]:
    """Return the transformer blocks that hold ``layers``, names in the model; a layer outside of blocks by itself.

    Layers of the embedding are left out: nothing of it is quantised in any model.
    """
    block = re.compile(r"encoder\.blocks\.\d+(?=\.|$)")
    outside = [layer for layer in layers if not in_embedding(layer)]
    return tuple(dict.fromkeys(held[0] if (held := block.match(layer)) else layer for layer in outside))


def write_int8(source: Path, target: Path, chips: Chips, in_float: Collection[str] = ()) -> None:
    """Quantise the fp32 model ``source`` into ``target``, calibrated on ``chips``.

    Args:
        source: as :func:`bandloom.export.from_torch.to_onnx.write_onnx` wrote it.
        target: the new file.
        chips: whose ranges count.
        in_float: names of modules in the model of which nothing is quantised.

    Raises:
        BundleError: the model has no linear layer to quantise.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".int8-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        written = onnx.load(source)
        kept = _nodes_of(written, in_float)
        chosen = [name for name in _linear_layers(onnx.load(prepared), written) if name not in kept]
        if not chosen:
            raise BundleError("all linear layers of the model have to stay in fp32; leave int8 out.")
        level = logging.root.level
        try:
            logging.root.setLevel(logging.ERROR)  # it warns about its own defaults
            quantize_static(
                str(prepared),
                str(target),
                cast(Any, _Calibration(chips)),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=chosen,
                extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
            )
        finally:
            logging.root.setLevel(level)
    digest = next(p.value for p in onnx.load(source).metadata_props if p.key == CONTRACT_KEY)
    quantised = onnx.load(target)
    onnx.helper.set_model_props(quantised, {CONTRACT_KEY: digest})
    onnx.save(quantised, target)


def _nodes_of(model, modules: Collection[str]) -> set[str]:  # noqa: ANN001  (onnx.ModelProto)
    """Return the names of the nodes that came from some modules of the model.

    Raises:
        BundleError: the file does not say what came from where.
    """
    scopes = {
        node.name: ast.literal_eval(prop.value)
        for node in model.graph.node
        for prop in node.metadata_props
        if prop.key == SCOPES_KEY
    }
    if modules and not scopes:
        raise BundleError(
            f"the exported graph does not say which of its nodes belong to {', '.join(modules)}, which int8 leaves in"
            " fp32; export with the torch that constraints.txt names, or leave int8 out."
        )
    named = tuple(f"model.{module}." for module in modules)
    return {name for name, inside in scopes.items() if any(f"{scope}.".startswith(named) for scope in inside)}


def _linear_layers(model, written) -> list[str]:  # noqa: ANN001  (onnx.ModelProto)
    """Return the names of the nodes to quantise, in order; ``written`` is the model as the exporter wrote it."""
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if any(name in constants for name in node.input[1:2])]
    products = [node.name for node in nodes if node.op_type in ("MatMul", "Gemm")]
    inside = _nodes_of(written, ["encoder"])
    if any(node.op_type == "LayerNormalization" and node.name in inside for node in written.graph.node):
        norm = next(i for i, node in enumerate(model.graph.node) if node.op_type == "LayerNormalization")
        embedded = {node.name for node in model.graph.node[:norm]}
        layers = [name for name in products if name not in embedded][:-1]
    else:  # a convolutional encoder: its first convolution embeds the samples
        convolutions = [node.name for node in nodes if node.op_type == "Conv" and node.name in inside]
        layers = convolutions[1:] + products[:-1]
    if not layers:
        raise BundleError("the model has too few linear layers to quantise; leave int8 out.")
    return layers


class _Calibration:
    """Feeds the calibration chips one by one, as onnxruntime's CalibrationDataReader."""

    def __init__(self, chips: Chips) -> None:
        self._feeds = self._each(chips)

    @staticmethod
    def _each(chips: Chips) -> Iterator[dict[str, np.ndarray]]:
        for i in range(len(chips)):
            yield group_feed({gsd_m: dn[i : i + 1] for gsd_m, dn in chips.groups.items()})

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)

    def set_range(self, *_: int) -> None:
        """Strided calibration is not used."""
