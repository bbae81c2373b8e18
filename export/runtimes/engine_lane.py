"""A lane of an engine: a stream, memory for the largest batch, and execution contexts whose shapes stay as they are.

A CUDA graph holds what its execution context was when it was captured; NVIDIA asks for one context a graph, unchanged
as long as the graph lives. So the usual batch has a context of its own, and all other batches share another.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandloom.export.runtimes.cuda_memory import Cuda, CudaError, Pair

OUTPUT = "logits"
Shape = tuple[int, ...]


@dataclass
class _Context:
    """An execution context of the backend, and what its shapes are set for."""

    handle: Any
    batch: int = 0
    ran: bool = False  # at least once since its shapes were set: what is still to be settled may not be captured


@dataclass
class Lane:
    """One stream of work. Lanes are used by one caller at a time.

    Args:
        cuda: the device.
        make_context: makes an execution context whose tensors lie in the memory that it is given.
        shapes: every input and the output, without the batch.
        usual: the batch that comes most often, captured as a CUDA graph.
        largest: the batch that the memory is made for.
        captures: whether to capture at all; False where the backend makes graphs by itself.
        complain: makes the error of a backend that refused, from what was asked of it.
    """

    cuda: Cuda
    make_context: Callable[[Mapping[str, Pair]], Any]
    shapes: Mapping[str, Shape]
    usual: int
    largest: int
    captures: bool
    complain: Callable[[str], CudaError]
    memory: dict[str, Pair] = field(init=False)
    stream: int = field(init=False)
    graph: Any = field(init=False, default=None)
    computed: set[int] = field(init=False, default_factory=set)  # batches that were computed at least once

    def __post_init__(self) -> None:
        """Take memory, a stream and the usual batch's context."""
        self.memory = {
            name: self.cuda.allocate((4 if name == OUTPUT else 1) * self.largest * math.prod(shape))
            for name, shape in self.shapes.items()
        }
        self.stream = self.cuda.stream()
        self._usual = _Context(self.make_context(self.memory))
        self._others: _Context | None = None  # made when it is first needed: it takes memory of its own

    def compute(self, feed: Mapping[str, np.ndarray], batch: int) -> np.ndarray:
        """Return the logits of ``feed``, filled up to ``batch``, as float32 of ``(batch, ...)``; a view, to be copied.

        Raises:
            CudaError: the device or the backend refuses.
        """
        for name, pairs in feed.items():
            content = pairs.reshape(-1)
            self.memory[name].host[: content.size] = content
        if batch == self.usual and self.graph is not None:
            self.cuda.launch(self.graph, self.stream)
        else:
            self._run(self._context(batch), batch)
        self.cuda.wait(self.stream)
        self.computed.add(batch)
        shape = (batch, *self.shapes[OUTPUT])
        return self.memory[OUTPUT].host[: 4 * math.prod(shape)].view(np.float32).reshape(shape)

    def close(self) -> None:
        """Give back graph, memory and stream."""
        if self.graph is not None:
            self.cuda.close_graph(self.graph)
        for pair in self.memory.values():
            self.cuda.free(pair)
        self.cuda.close_stream(self.stream)

    def _context(self, batch: int) -> _Context:
        if batch == self.usual:
            return self._usual
        if self._others is None:
            self._others = _Context(self.make_context(self.memory))
        return self._others

    def _run(self, context: _Context, batch: int) -> None:
        self._set_batch(context, batch)
        if not (batch == self.usual and self._capture(context)):
            self._enqueue(context)
        context.ran = True

    def _set_batch(self, context: _Context, batch: int) -> None:
        if context.batch == batch:
            return
        context.batch, context.ran = 0, False
        for name, shape in self.shapes.items():
            if name != OUTPUT and not context.handle.set_input_shape(name, (batch, *shape)):
                raise self.complain(f"refuses a batch of {batch}")
        context.batch = batch

    def _capture(self, context: _Context) -> bool:
        """Capture and launch the usual batch the second time it comes, if the backend lets it."""
        if not self.captures or not context.ran:
            return False
        capturable = getattr(context.handle, "is_stream_capturable", None)
        if capturable is not None and not capturable(self.stream):
            self.captures = False
            return False
        made: list[Any] = []
        try:
            with self.cuda.captured(self.stream, made):
                self._enqueue(context)
        except CudaError:
            self.captures = False
            return False
        self.graph = made[0]
        self.cuda.launch(self.graph, self.stream)
        return True

    def _enqueue(self, context: _Context) -> None:
        for name, shape in self.shapes.items():
            if name != OUTPUT:
                self.cuda.copy_in(self.memory[name], context.batch * math.prod(shape), self.stream)
        if not context.handle.execute_async_v3(self.stream):
            raise self.complain("failed")
        self.cuda.copy_out(self.memory[OUTPUT], 4 * context.batch * math.prod(self.shapes[OUTPUT]), self.stream)
