"""Runs a TensorRT or TensorRT-RTX engine: page-locked buffers, two streams, and a CUDA graph for the usual batch.

Calls from different threads take different lanes, so that one batch is copied while another is computed; a caller that
comes too many waits.
"""

from collections.abc import Mapping
from queue import LifoQueue
from typing import Any

import numpy as np

from bandloom.export.bundle.native_groups import Groups, group_feed
from bandloom.export.bundle.record import Contract, EngineFile
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.runtimes.cuda_memory import Cuda, CudaError, Pair
from bandloom.export.runtimes.engine_builder import Said
from bandloom.export.runtimes.engine_lane import OUTPUT, Lane, Shape
from bandloom.export.runtimes.onnx_runner import Unavailable
from bandloom.export.runtimes.rtx_kernels import RtxKernels

LANES = 2


class EngineRunner:
    """An engine behind the interface of every runner."""

    lanes = LANES

    def __init__(self, trt: Any, plan: bytes, engine: EngineFile, contract: Contract, cuda: Cuda) -> None:
        """Deserialise an engine and take memory for it.

        Args:
            trt: the bindings of the backend.
            plan: the engine file's content.
            engine: its entry in the record.
            contract: what goes in and comes out.
            cuda: the device.

        Raises:
            Unavailable: the engine is for another version or GPU, or takes other tensors; the backend's own words.
            CudaError: the device has no room for it.
        """
        self.name = f"{engine.backend} {trt.__version__} {engine.precision}"
        self._smallest, self._usual, self._largest = engine.batch
        self._shapes = shapes_of(contract)
        self._said = Said(trt)
        self._runtime = trt.Runtime(self._said.logger)
        if engine.version_compatible:
            # such an engine brings code of its own; its sha256 was checked
            self._runtime.engine_host_code_allowed = True
        self._said.clear()
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise Unavailable(f"{engine.file} cannot be loaded: {self._said.last or 'the backend gave no reason'}")
        self._check_tensors(engine)
        self._kernels = _rtx_kernels(trt, self._engine, engine, plan, cuda)
        self._free: LifoQueue[Lane] = LifoQueue()
        for _ in range(LANES):
            self._free.put(self._lane(cuda))

    def run(self, groups: Groups) -> np.ndarray:
        """Return float32 logits, ``(B, K, H, W)`` or ``(B, K)``, of ``{gsd_m: (B, C, H, W) uint16}``."""
        feed = group_feed(groups)
        count = len(next(iter(feed.values())))
        parts = [
            self._run({name: pairs[begin : begin + self._largest] for name, pairs in feed.items()})
            for begin in range(0, count, self._largest)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """Give back memory and streams; no call may be running."""
        while not self._free.empty():
            self._free.get().close()

    def _run(self, feed: Mapping[str, np.ndarray]) -> np.ndarray:
        count = len(next(iter(feed.values())))
        batch = max(count, self._smallest)  # a batch below the profile's smallest is filled up
        lane = self._free.get()
        try:
            self._said.clear()
            new = batch not in lane.computed
            answer = lane.compute(feed, batch)[:count].copy()
            if new and self._kernels is not None:
                self._kernels.save()
            return answer
        finally:
            self._free.put(lane)

    def _lane(self, cuda: Cuda) -> Lane:
        return Lane(
            cuda,
            self._make_context,
            self._shapes,
            usual=self._usual,
            largest=self._largest,
            captures=self._kernels is None,
            complain=lambda what: CudaError(f"{self.name} {what} ({self._said.last or 'it gave no reason'})."),
        )

    def _make_context(self, memory: Mapping[str, Pair]) -> Any:
        self._said.clear()
        context = self._engine.create_execution_context(*([self._kernels.config] if self._kernels else []))
        if context is None:
            raise Unavailable(f"{self.name} cannot run here: {self._said.last or 'it gave no reason'}")
        for name, pair in memory.items():
            if not context.set_tensor_address(name, pair.device_address):
                raise Unavailable(f"{self.name} takes no memory for {name}: {self._said.last or 'it gave no reason'}")
        return context

    def _check_tensors(self, engine: EngineFile) -> None:
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        given = {name: tuple(self._engine.get_tensor_shape(name))[1:] for name in names}
        if given != self._shapes:
            raise Unavailable(f"{engine.file} has the tensors {given}, the record says {self._shapes}")


def shapes_of(contract: Contract) -> dict[str, Shape]:
    """Return the shape of every input and of the output, without the batch."""
    side_m, classes = contract.tile_px * MAP_PIXEL_M, len(contract.get_label_set())
    inputs = {g.name: (len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m, 2) for g in contract.groups}
    output = (classes, contract.tile_px, contract.tile_px) if contract.makes_map else (classes,)
    return {**inputs, OUTPUT: output}


def _rtx_kernels(trt: Any, loaded: Any, engine: EngineFile, plan: bytes, cuda: Cuda) -> RtxKernels | None:
    """Return what TensorRT-RTX compiles on the box; None for TensorRT, and for an older RTX."""
    if engine.backend != "tensorrt-rtx" or not hasattr(loaded, "create_runtime_config"):
        return None
    return RtxKernels(trt, loaded, plan, cuda.compute_capability())
