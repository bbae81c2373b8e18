"""Runs a TensorRT or TensorRT-RTX engine: page-locked buffers, two streams, and a CUDA graph for the usual batch.

A lane is a stream with its own execution context and buffers. Calls from different threads take different lanes, so
that one batch is copied while another is computed; a caller that comes too many waits.
"""

import math
from dataclasses import dataclass, field
from queue import LifoQueue
from typing import Any

import numpy as np

from bandloom.export.bundle.native_groups import Groups, group_feed
from bandloom.export.bundle.record import Contract, EngineFile
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.runtimes.cuda_memory import Cuda, CudaError, Pair
from bandloom.export.runtimes.engine_builder import Said
from bandloom.export.runtimes.onnx_runner import Unavailable

LANES = 2
OUTPUT = "logits"
Shape = tuple[int, ...]


@dataclass
class _Lane:
    """One stream, one execution context, and memory for the largest batch."""

    context: Any
    stream: int
    memory: dict[str, Pair]
    batch: int = 0  # what the context's shapes are set for
    ran: set[int] = field(default_factory=set)  # batches that ran at least once, and may be captured
    graph: Any = None
    captures: bool = True  # until a capture fails


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
        """
        self.name = f"{engine.backend} {trt.__version__} {engine.precision}"
        self._cuda, self._profile = cuda, engine.batch
        self._shapes = shapes_of(contract)
        self._said = Said(trt)
        self._runtime = trt.Runtime(self._said.logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise Unavailable(f"{engine.file} cannot be loaded: {self._said.last or 'the backend gave no reason'}")
        self._check_tensors(engine)
        self._free: LifoQueue[_Lane] = LifoQueue()
        for _ in range(LANES):
            self._free.put(self._lane())

    def run(self, groups: Groups) -> np.ndarray:
        """Return float32 logits, ``(B, K, H, W)`` or ``(B, K)``, of ``{gsd_m: (B, C, H, W) uint16}``."""
        feed = group_feed(groups)
        count, largest = len(next(iter(feed.values()))), self._profile[2]
        parts = [
            self._run({name: pairs[begin : begin + largest] for name, pairs in feed.items()})
            for begin in range(0, count, largest)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """Give back memory and streams; no call may be running."""
        while not self._free.empty():
            lane = self._free.get()
            if lane.graph is not None:
                self._cuda.close_graph(lane.graph)
            for pair in lane.memory.values():
                self._cuda.free(pair)
            self._cuda.close_stream(lane.stream)

    def _run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        count = len(next(iter(feed.values())))
        batch = max(count, self._profile[0])  # a batch below the profile's smallest is filled up
        lane = self._free.get()
        try:
            for name, pairs in feed.items():
                content = pairs.reshape(-1)
                lane.memory[name].host[: content.size] = content
            self._compute(lane, batch)
            shape = (batch, *self._shapes[OUTPUT])
            answer = lane.memory[OUTPUT].host[: 4 * math.prod(shape)].view(np.float32).reshape(shape)
            return answer[:count].copy()
        finally:
            self._free.put(lane)

    def _compute(self, lane: _Lane, batch: int) -> None:
        if lane.graph is not None and batch == self._profile[1]:
            self._cuda.launch(lane.graph, lane.stream)
        else:
            self._set_batch(lane, batch)
            if not self._capture(lane, batch):
                self._enqueue(lane, batch)
            lane.ran.add(batch)
        self._cuda.wait(lane.stream)

    def _set_batch(self, lane: _Lane, batch: int) -> None:
        if lane.batch == batch:
            return
        for name, shape in self._shapes.items():
            if name != OUTPUT and not lane.context.set_input_shape(name, (batch, *shape)):
                raise CudaError(f"{self.name} refuses a batch of {batch} ({self._said.last}).")
        lane.batch = batch

    def _capture(self, lane: _Lane, batch: int) -> bool:
        """Capture and launch the usual batch the second time it comes; the first one settles what capture may not.

        Only one graph is kept a lane: other batches change the context's shapes, and so does the usual one afterwards.
        """
        capturable = getattr(lane.context, "is_stream_capturable", None)
        ready = lane.captures and batch == self._profile[1] and batch in lane.ran
        if not ready or (capturable and not capturable(lane.stream)):
            return False
        made: list[Any] = []
        try:
            with self._cuda.captured(lane.stream, made):
                self._enqueue(lane, batch)
        except CudaError:
            lane.captures = False
            return False
        lane.graph = made[0]
        self._cuda.launch(lane.graph, lane.stream)
        return True

    def _enqueue(self, lane: _Lane, batch: int) -> None:
        for name, shape in self._shapes.items():
            if name != OUTPUT:
                self._cuda.copy_in(lane.memory[name], batch * math.prod(shape), lane.stream)
        if not lane.context.execute_async_v3(lane.stream):
            raise CudaError(f"{self.name} failed: {self._said.last or 'it gave no reason'}.")
        self._cuda.copy_out(lane.memory[OUTPUT], 4 * batch * math.prod(self._shapes[OUTPUT]), lane.stream)

    def _lane(self) -> _Lane:
        context = self._engine.create_execution_context()
        if context is None:
            raise Unavailable(f"{self.name} cannot run here: {self._said.last or 'it gave no reason'}")
        memory = {
            name: self._cuda.allocate((4 if name == OUTPUT else 1) * self._profile[2] * math.prod(shape))
            for name, shape in self._shapes.items()
        }
        for name, pair in memory.items():
            context.set_tensor_address(name, pair.device_address)
        return _Lane(context, self._cuda.stream(), memory)

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
