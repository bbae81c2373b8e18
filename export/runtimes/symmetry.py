"""Averages a model over the eight rotations and reflections of a tile: test-time augmentation on the dihedral group.

Ground has no up: what a scene shows is as likely turned or mirrored. The mean is of probabilities, so it is exact; it
costs eight runs a tile.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bandloom.errors import BundleError
from bandloom.export.bundle.answers import probabilities
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.bundle.record import Contract
from bandloom.export.runtimes.onnx_runner import Runner

SYMMETRIES = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))
LEAST = 1e-12  # of a probability whose logarithm is taken


def turned(pixels: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Return ``(..., H, W)`` mirrored left to right, where asked for, and then turned by quarters."""
    return np.ascontiguousarray(np.rot90(pixels[..., ::-1] if mirrored else pixels, turns, axes=(-2, -1)))


def turned_back(pixels: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Undo :func:`turned`."""
    back = np.rot90(pixels, -turns, axes=(-2, -1))
    return back[..., ::-1] if mirrored else back


class Symmetric:
    """A runner whose logits are those of the mean probability over the eight symmetries of its tiles."""

    def __init__(self, runner: Runner, contract: Contract) -> None:
        self._runner: Any = runner
        self._contract = contract
        self.lanes = runner.lanes
        self.name = f"{runner.name}, mean of {len(SYMMETRIES)} symmetries"

    def run(self, groups: Groups) -> np.ndarray:
        """Return float32 logits, ``(B, K, H, W)`` or ``(B, K)``, of ``{gsd_m: (B, C, H, W) uint16}``."""
        return self.outputs(groups, ("logits",))[0]

    def outputs(self, groups: Groups, names: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs, the mean of each; of logits that of the probabilities."""
        if names != ("logits",) and not hasattr(self._runner, "outputs"):
            raise BundleError(f"{self._runner.name} gives no {names[-1]}; pass --runtime onnxruntime-cpu.")
        sums: list[Any] = [0.0] * len(names)
        for turns, mirrored in SYMMETRIES:
            given = {gsd_m: turned(dn, turns, mirrored) for gsd_m, dn in groups.items()}
            answers = [self._runner.run(given)] if names == ("logits",) else self._runner.outputs(given, names)
            for number, (name, answer) in enumerate(zip(names, answers, strict=True)):
                upright = turned_back(answer, turns, mirrored) if answer.ndim == 4 else answer
                sums[number] = sums[number] + (self._shares(upright) if name == "logits" else upright)
        means = [total / len(SYMMETRIES) for total in sums]
        return [
            (self._logits(mean) if name == "logits" else mean).astype(np.float32)
            for name, mean in zip(names, means, strict=True)
        ]

    def _shares(self, logits: np.ndarray) -> np.ndarray:
        """Return what is averaged: probabilities, or the values of a regression."""
        wide = logits.astype(np.float64)
        return wide if self._contract.answer.continuous else probabilities(self._contract, wide, axis=1)

    def _logits(self, mean: np.ndarray) -> np.ndarray:
        if self._contract.answer.continuous:
            return mean
        logs = np.log(mean.clip(LEAST))
        if self._contract.answer.several:
            logs = logs - np.log((1 - mean).clip(LEAST))
        return logs * self._contract.temperature


def symmetric(runner: Runner, contract: Contract, symmetry: int) -> Runner:
    """Return the runner averaged over ``symmetry`` symmetries, 8, or as it is, 1."""
    return Symmetric(runner, contract) if symmetry > 1 else runner
