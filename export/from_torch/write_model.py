"""Writes one precision of a model and measures it; a file over its budget is an error, so it is never in a bundle."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.command_line.console import logger
from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import Groups, byte_pairs
from bandloom.export.bundle.record import Contract, ModelFile
from bandloom.export.from_torch.audit_fp16 import audit_ranges, wide_layers
from bandloom.export.from_torch.deploy import AnyModel, deploy_graph, extra_outputs, members_of
from bandloom.export.from_torch.half_precision import HalfPrecision
from bandloom.export.from_torch.held_chips import Chips, Ground, calibration_chips
from bandloom.export.from_torch.parity import EXTRA_BUDGETS, labelled, measure, require
from bandloom.export.from_torch.quantise import blocks_of, write_int8
from bandloom.export.from_torch.to_onnx import OPSET, DeployGraph, write_onnx
from bandloom.export.from_torch.token_space import TokenSpace
from bandloom.export.runtimes.onnx_runner import OnnxRunner, Runner
from bandloom.export.runtimes.replay import require_exact

FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "bf16": "model.bf16.onnx", "int8": "model.int8.onnx"}


def write_precision(
    folder: Path,
    model: AnyModel,
    contract: Contract,
    chips: Chips,
    expected: np.ndarray,
    precision: str,
    ground: Ground,
    space: TokenSpace | None = None,
) -> ModelFile:
    """Write ``model`` in ``precision`` into ``folder`` and gate it on ``chips``, whose fp32 answer is ``expected``.

    ``ground`` is where int8 finds chips to be calibrated on, and 16 bits more chips to measure ranges on.

    Raises:
        BundleError: a layer is not finite, the export fails, or the parity gate does.
    """
    wide: tuple[str, ...] = ()
    if precision != "fp32" and not (precision == "int8" and contract.extras):
        half: HalfPrecision = "bf16" if precision == "bf16" else "fp16"
        wide = layers_in_fp32(model, contract, [chips], half, ground)
    if precision == "int8":
        wide = blocks_of(wide)
    if wide:
        logger.info("%s keeps in fp32, for what they reach on real chips: %s", precision, ", ".join(wide))
    runner = write_file(folder, model, contract, precision, ground, wide, space)
    parity = measure(runner, expected, chips, precision, contract)
    require(parity, precision, labelled(chips.labels))
    if precision == "int8":
        require_exact(folder / FILES[precision], runner, chips.groups, expected)
    extras = _extras(runner, extra_outputs(model, contract, chips, space) if contract.extras else {}, chips, precision)
    return ModelFile(
        file=FILES[precision],
        precision=precision,  # type: ignore[arg-type]
        opset=OPSET,
        parity=parity,
        fp32_layers=wide,
        extras=extras,
    )


def _extras(runner: Runner, expected: Mapping[str, np.ndarray], chips: Chips, precision: str) -> dict[str, float]:
    """Return how far each further output is from torch's in fp32.

    Raises:
        BundleError: further than the precision may be.
    """
    if not expected:
        return {}
    asked: Any = runner
    parts = [asked.outputs(groups, tuple(expected)) for groups in chips.batches()]
    differences = {}
    for number, (name, right) in enumerate(expected.items()):
        given = np.concatenate([part[number] for part in parts])
        differences[name] = float(np.abs(given - right).max())
        allowed = EXTRA_BUDGETS[precision] * max(1.0, float(right.max()))
        if not differences[name] <= allowed:
            raise BundleError(
                f"the {precision} model fails its parity gate: its {name} differs from torch by up to"
                f" {differences[name]:.3g} (allowed {allowed:.3g}); leave this precision out."
            )
    return differences


def layers_in_fp32(
    model: AnyModel, contract: Contract, chips: Sequence[Chips], precision: HalfPrecision, ground: Ground
) -> tuple[str, ...]:
    """Return which layers 16 bits do not bear, by what they reach on ``chips`` and calibration chips.

    Raises:
        BundleError: a layer is not finite in fp32 either.
    """
    audited = [*chips, calibration_chips(contract, ground, part_px=model.chip_px)]
    return tuple(
        prefix + layer
        for prefix, member in members_of(model).items()
        for layer in wide_layers(member, audit_ranges(member, audited), precision)
    )


def write_file(
    folder: Path,
    model: AnyModel,
    contract: Contract,
    precision: str,
    ground: Ground,
    wide: Collection[str] = (),
    space: TokenSpace | None = None,
) -> Runner:
    """Write one precision, good or bad, and return what runs it here; int8 is made of the fp32 file beside it.

    ``wide`` names the layers that stay in fp32 in a model of fewer bits.

    Raises:
        BundleError: the model cannot be exported.
    """
    path = folder / FILES[precision]
    logger.info("writing the %s model", precision)
    if precision == "int8":
        if contract.extras:
            raise BundleError(
                "int8 is not made of an ensemble, nor with --ood; leave int8 out, or export one model alone without it."
            )
        write_int8(folder / FILES["fp32"], path, calibration_chips(contract, ground, part_px=model.chip_px), wide)
        return OnnxRunner(path)
    graph = deploy_graph(model, precision, wide, space)
    write_onnx(graph, contract, path, outputs=("logits", *contract.extras))
    # ONNX Runtime's CPU has no bf16 kernels; torch runs the very graph that was exported
    return _TorchRunner(graph, contract) if precision == "bf16" else OnnxRunner(path)


class _TorchRunner:
    """Runs a deploy graph in torch, on bytes as an engine would."""

    lanes = 1

    def __init__(self, graph: DeployGraph, contract: Contract) -> None:
        self.name = f"torch {torch.__version__} cpu"
        self._graph, self._names = graph, ("logits", *contract.extras)

    def run(self, groups: Groups) -> np.ndarray:
        return self.outputs(groups, ("logits",))[0]

    def outputs(self, groups: Groups, names: Sequence[str]) -> list[np.ndarray]:
        pairs = [torch.from_numpy(byte_pairs(groups[gsd_m])) for gsd_m in self._graph.gsds_m]
        with torch.inference_mode():
            answer = self._graph(*pairs)
        made = dict(zip(self._names, answer if isinstance(answer, tuple) else (answer,), strict=True))
        return [made[name].float().numpy() for name in names]
