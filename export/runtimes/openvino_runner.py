"""Runs a bundle's model with OpenVINO, often the fastest on Intel's processors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.export.bundle.native_groups import Groups, group_feed
from bandloom.export.runtimes.onnx_runner import NotBrought, Unavailable


class OpenVinoRunner:
    """One compiled model, asked by one thread at a time."""

    lanes = 1

    def __init__(self, path: Path, precision: str, *, threads: int = 0) -> None:
        """Compile the model; ``threads`` 0 leaves their number to the runtime.

        Raises:
            Unavailable: OpenVINO is not installed, or refuses the model.
        """
        try:
            import openvino  # type: ignore[import-not-found]
        except ImportError as cause:
            raise NotBrought(f"openvino is not installed ({cause}); pip install 'bandloom[openvino]'") from cause
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if precision != "bf16":
            settings["INFERENCE_PRECISION_HINT"] = "f32"  # its own choice is bf16 where the processor has it
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = openvino.Core().compile_model(str(path), "CPU", settings)
        except RuntimeError as cause:
            raise Unavailable(f"OpenVINO {openvino.__version__} refuses {path.name}: {_first_line(cause)}") from cause
        self.name = f"openvino {openvino.__version__.partition('-')[0]} CPU"
        self._request = self._model.create_infer_request()

    def run(self, groups: Groups) -> np.ndarray:
        """Return float32 logits, ``(B, K, H, W)`` or ``(B, K)``, of ``{gsd_m: (B, C, H, W) uint16}``."""
        return self.outputs(groups, ("logits",))[0]

    def outputs(self, groups: Groups, names: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs, float32, the batch first; further ones are those of the contract's ``extras``."""
        answer = self._request.infer(group_feed(groups))
        return [np.array(answer[name], np.float32) for name in names]


def _first_line(cause: Exception) -> str:
    return (str(cause).strip().splitlines() or [type(cause).__name__])[-1][:200]
