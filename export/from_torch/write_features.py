"""Writes the encoder of a fine-tuned model as a model file of its own, for embeddings, behind its own parity gate."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bandloom.command_line.console import logger
from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import byte_pairs
from bandloom.export.bundle.record import Contract, FeatureFile
from bandloom.export.from_torch.held_chips import Chips
from bandloom.export.from_torch.to_onnx import OPSET, DeployGraph, from_byte_pairs, write_onnx
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.finetune.model.task_model import TaskModel

FILE = "encoder.onnx"
ALLOWED = 1e-3  # features come out of a layer norm, so they are of the order of one


class FeatureGraph(DeployGraph):
    """Byte pairs of native groups in, features ``(B, D, rows, columns)`` of tokens out."""

    def forward(self, *pairs: Tensor) -> Tensor:
        """Return the encoder's features of ``(B, C, H, W, 2)`` uint8 pairs."""
        groups = {gsd_m: from_byte_pairs(pair) for gsd_m, pair in zip(self.gsds_m, pairs, strict=True)}
        tokens = self.model.features(groups)  # (B, T, D)
        rows, columns = self.model.encoder.grid(groups)
        return tokens.transpose(1, 2).unflatten(2, (rows, columns))


def write_features(folder: Path, model: TaskModel, contract: Contract, chips: Chips) -> tuple[FeatureFile, np.ndarray]:
    """Write the encoder, compare it with torch, and return its record and torch's features of ``chips``.

    Raises:
        BundleError: it cannot be exported, or differs from torch.
    """
    logger.info("writing the encoder")
    graph = FeatureGraph(model).eval()
    with torch.inference_mode():
        expected = np.concatenate(
            [
                graph(*(torch.from_numpy(byte_pairs(groups[gsd_m])) for gsd_m in graph.gsds_m)).float().numpy()
                for groups in chips.batches()
            ]
        )
    write_onnx(graph, contract, folder / FILE, outputs=("features",))
    runner = OnnxRunner(folder / FILE)
    given = np.concatenate([runner.run(groups) for groups in chips.batches()])
    max_abs = float(np.abs(given - expected).max())
    if not max_abs <= ALLOWED:
        raise BundleError(f"the encoder's features differ from torch by {max_abs:.3g} (allowed {ALLOWED:g}).")
    record = FeatureFile(file=FILE, opset=OPSET, embed_dim=expected.shape[1], max_abs=max_abs, allowed_max_abs=ALLOWED)
    return record, expected
