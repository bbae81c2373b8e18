"""Runs a bundle's model on native groups with ONNX Runtime and numpy alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import Groups, group_feed


class Unavailable(Exception):
    """A runtime that cannot run a model here, in words for the user; the next one is tried."""


class NotBrought(Unavailable):
    """A runtime that nobody meant to use: it is not installed, or the bundle holds nothing for it."""


class Runner(Protocol):
    """Anything that turns native groups into logits."""

    name: str
    lanes: int  # how many calls may usefully run at once

    def run(self, groups: Groups) -> np.ndarray:
        """Return float32 logits, ``(B, K, H, W)`` or ``(B, K)``, of ``{gsd_m: (B, C, H, W) uint16}``."""
        ...


class OnnxRunner:
    """ONNX Runtime on one model file."""

    lanes = 1

    def __init__(
        self, path: Path, *, threads: int = 0, provider: str = "CPUExecutionProvider", exact: bool = False
    ) -> None:
        """Load the model; ``threads`` 0 leaves their number to the runtime.

        ``exact`` leaves the graph as it was written, so that quantised layers are computed in float arithmetic: slow,
        and the same on every processor.

        Raises:
            BundleError: the file is absent, or no model that this runtime can load.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if exact:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings = {"use_tf32": "0"} if provider == "CUDAExecutionProvider" else {}
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=[(provider, settings)])
        except Exception as cause:  # the runtime's exceptions share no base class of their own
            raise BundleError(
                f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__} ({_first_line(cause)}); copy the"
                " bundle again or export it anew."
            ) from cause
        self._first = [self._session.get_outputs()[0].name]  # further outputs cost nothing where nobody asks for them
        self.name = f"onnxruntime {onnxruntime.__version__} {self._session.get_providers()[0]}"

    @property
    def metadata(self) -> Mapping[str, str]:
        """The key-value pairs that the exporter wrote into the model."""
        return self._session.get_modelmeta().custom_metadata_map

    @property
    def input_shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Input shapes by name; a symbolic side is a string."""
        return {get_input.name: tuple(get_input.shape) for get_input in self._session.get_inputs()}

    def run(self, groups: Groups) -> np.ndarray:
        """Return float32 logits, ``(B, K, H, W)`` or ``(B, K)``, of ``{gsd_m: (B, C, H, W) uint16}``."""
        return np.asarray(self._session.run(self._first, group_feed(groups))[0])

    def outputs(self, groups: Groups, names: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs, float32, the batch first; further ones are those of the contract's ``extras``."""
        return [np.asarray(output) for output in self._session.run(list(names), group_feed(groups))]


def _first_line(cause: Exception) -> str:
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
