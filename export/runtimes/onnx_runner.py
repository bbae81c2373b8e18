"""Runs a bundle's model on native groups with ONNX Runtime and numpy alone."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from bandloom.command_line.console import logger
from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import Groups, group_feed
from bandloom.export.runtimes.bound_session import LANES, BoundSession

CUDA = "CUDAExecutionProvider"
BOUND_ON = {CUDA: "cuda"}  # providers with memory of their own: inputs and outputs stay bound there
# fp32 would miss its parity with TF32; the default search tries every convolution kernel at each size of batch
SETTINGS = {CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}}


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
    """ONNX Runtime on one model file; on a GPU through memory that stays bound there."""

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
        if provider == CUDA:
            _preload()
        providers = [(provider, SETTINGS.get(provider, {}))]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as cause:  # the runtime's exceptions share no base class of their own
            raise BundleError(
                f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__} ({_first_line(cause)}); copy the"
                " bundle again or export it anew."
            ) from cause
        self._first = [self._session.get_outputs()[0].name]  # further outputs cost nothing where nobody asks for them
        used = self._session.get_providers()[0]  # another one where the provider's libraries cannot be loaded
        self.name = f"onnxruntime {onnxruntime.__version__} {used}"
        self._bound = BoundSession(self._session, BOUND_ON[used]) if used in BOUND_ON else None
        if self._bound is not None:
            self.lanes = LANES

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
        return self.outputs(groups, self._first)[0]

    def outputs(self, groups: Groups, names: Sequence[str]) -> list[np.ndarray]:
        """Return the named outputs, float32, the batch first; further ones are those of the contract's ``extras``."""
        run = self._session_run if self._bound is None else self._bound.run
        return run(group_feed(groups), names)

    def _session_run(self, feed: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        return [np.asarray(output) for output in self._session.run(list(names), dict(feed))]


def _preload() -> None:
    """Load CUDA's libraries from NVIDIA's own wheels, where those are installed; else the system's are looked for."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            onnxruntime.preload_dlls()
        logger.debug("%s", said.getvalue().strip() or "ONNX Runtime's CUDA libraries were looked for")


def _first_line(cause: Exception) -> str:
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:200]
