"""A runner that gives a model's further outputs as channels after the classes' own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.runtimes.onnx_runner import Runner


class WithExtras:
    """Logits ``(B, K + n, ...)``: the K classes, then ``n`` further outputs, ``(B, 1, ...)`` each."""

    def __init__(self, runner: Runner, names: Sequence[str]) -> None:
        """Take a runner that has ``outputs``.

        Raises:
            BundleError: it gives logits alone.
        """
        if not hasattr(runner, "outputs"):
            raise BundleError(f"{runner.name} gives no {names[0]}; pass --runtime onnxruntime-cpu.")
        self._runner: Any = runner
        self._names = ("logits", *names)
        self.name, self.lanes = runner.name, runner.lanes

    def run(self, groups: Groups) -> np.ndarray:
        """Return float32 channels of ``{gsd_m: (B, C, H, W) uint16}``."""
        return np.concatenate(self._runner.outputs(groups, self._names), axis=1)


def with_extras(runner: Runner, names: Sequence[str]) -> Runner:
    """Return the runner as it is where nothing further is asked for."""
    return WithExtras(runner, names) if names else runner
