"""CUDA memory and streams through cuda-python, each call checked; no torch."""

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from bandloom.errors import BundleError

# every name of cuda.bindings.runtime that is used here; a test looks them up in the published package
CALLS = (
    "cudaGetDeviceCount",
    "cudaDeviceGetAttribute",
    "cudaDriverGetVersion",
    "cudaHostAlloc",
    "cudaFreeHost",
    "cudaMalloc",
    "cudaFree",
    "cudaStreamCreateWithFlags",
    "cudaStreamDestroy",
    "cudaStreamSynchronize",
    "cudaMemcpyAsync",
    "cudaStreamBeginCapture",
    "cudaStreamEndCapture",
    "cudaGraphInstantiate",
    "cudaGraphLaunch",
    "cudaGraphDestroy",
    "cudaGraphExecDestroy",
)
CONSTANTS = (
    "cudaHostAllocDefault",
    "cudaStreamNonBlocking",
    "cudaMemcpyKind",
    "cudaStreamCaptureMode",
    "cudaDeviceAttr",
)


class CudaError(BundleError):
    """A call of the CUDA runtime that failed."""


@dataclass(frozen=True)
class Pair:
    """Page-locked memory and device memory of one tensor at its largest batch."""

    host: np.ndarray  # (bytes,) uint8, page-locked
    host_address: int
    device_address: int


class Cuda:
    """Device 0 through ``cuda.bindings.runtime``, whose calls return ``(error, values...)``."""

    def __init__(self, calls: Any = None) -> None:
        """Import the bindings, unless ``calls`` stands in for them.

        Raises:
            ModuleNotFoundError: cuda-python is not installed.
        """
        self._calls = calls or import_module("cuda.bindings.runtime")

    def _ask(self, name: str, *arguments: Any) -> Any:
        error, *values = getattr(self._calls, name)(*arguments)
        if int(error):
            raise CudaError(f"{name} failed: {getattr(error, 'name', error)}")
        return values[0] if values else None

    def device_count(self) -> int:
        """Return how many GPUs the driver shows.

        Raises:
            CudaError: there is no driver, or none that fits.
        """
        return int(self._ask("cudaGetDeviceCount"))

    def driver_version(self) -> str:
        """Return the newest CUDA that the driver runs, such as 13.0."""
        number = int(self._ask("cudaDriverGetVersion"))
        return f"{number // 1000}.{number % 1000 // 10}"

    def compute_capability(self) -> str:
        """Return what the GPU is called in a bundle, such as sm_90."""
        kinds = self._calls.cudaDeviceAttr
        parts = (kinds.cudaDevAttrComputeCapabilityMajor, kinds.cudaDevAttrComputeCapabilityMinor)
        return "sm_" + "".join(str(int(self._ask("cudaDeviceGetAttribute", part, 0))) for part in parts)

    def allocate(self, count_bytes: int) -> Pair:
        """Return page-locked and device memory of as many bytes."""
        address = int(self._ask("cudaHostAlloc", count_bytes, self._calls.cudaHostAllocDefault))
        memory = (ctypes.c_uint8 * count_bytes).from_address(address)
        return Pair(np.ctypeslib.as_array(memory), address, int(self._ask("cudaMalloc", count_bytes)))

    def free(self, pair: Pair) -> None:
        """Give the memory back."""
        self._ask("cudaFreeHost", pair.host_address)
        self._ask("cudaFree", pair.device_address)

    def stream(self) -> int:
        """Return a stream that does not wait for the default one."""
        return int(self._ask("cudaStreamCreateWithFlags", self._calls.cudaStreamNonBlocking))

    def close_stream(self, stream: int) -> None:
        """Destroy a stream."""
        self._ask("cudaStreamDestroy", stream)

    def wait(self, stream: int) -> None:
        """Wait for all work of a stream."""
        self._ask("cudaStreamSynchronize", stream)

    def copy_in(self, pair: Pair, count_bytes: int, stream: int) -> None:
        """Begin to copy from the host to the device."""
        kind = self._calls.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ask("cudaMemcpyAsync", pair.device_address, pair.host_address, count_bytes, kind, stream)

    def copy_out(self, pair: Pair, count_bytes: int, stream: int) -> None:
        """Begin to copy from the device to the host."""
        kind = self._calls.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ask("cudaMemcpyAsync", pair.host_address, pair.device_address, count_bytes, kind, stream)

    @contextlib.contextmanager
    def captured(self, stream: int, into: list[Any]) -> Iterator[None]:
        """Record what the block asks of ``stream`` as a graph, appended to ``into``; nothing runs meanwhile."""
        mode = self._calls.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._ask("cudaStreamBeginCapture", stream, mode)
        try:
            yield
        except BaseException:
            with contextlib.suppress(CudaError):  # the stream must leave capture mode, whatever was recorded
                self._ask("cudaStreamEndCapture", stream)
            raise
        graph = self._ask("cudaStreamEndCapture", stream)
        into.append(self._ask("cudaGraphInstantiate", graph, 0))
        self._ask("cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: int) -> None:
        """Run a captured graph."""
        self._ask("cudaGraphLaunch", graph, stream)

    def close_graph(self, graph: Any) -> None:
        """Destroy a captured graph."""
        self._ask("cudaGraphExecDestroy", graph)
