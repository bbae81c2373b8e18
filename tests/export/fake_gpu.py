"""What stands in for a GPU where there is none: the CUDA runtime's calls over host memory, and an engine over them.

Work is queued on streams and runs when a stream is waited for, as on a device; what is captured does not run until its
graph is launched. The engine's arithmetic is ONNX Runtime's.
"""

import ctypes
import threading
from enum import IntEnum
from types import SimpleNamespace

import numpy as np

from bandloom.export.runtimes.onnx_runner import OnnxRunner


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900


class FakeCudart:
    """The part of ``cuda.bindings.runtime`` that is used; every call returns ``(error, values...)``."""

    cudaHostAllocDefault, cudaStreamNonBlocking = 0, 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaDeviceAttr = SimpleNamespace(cudaDevAttrComputeCapabilityMajor=75, cudaDevAttrComputeCapabilityMinor=76)

    def __init__(self, capability=(8, 9)):
        self.memory, self.streams, self.capturing = {}, {}, {}
        self.launched = 0
        self.waiting, self.most_waiting = 0, 0
        self._capability, self._lock = capability, threading.Lock()

    def cudaGetDeviceCount(self):
        return Error.cudaSuccess, 1

    def cudaDriverGetVersion(self):
        return Error.cudaSuccess, 13000

    def cudaDeviceGetAttribute(self, attribute, device):
        return Error.cudaSuccess, self._capability[attribute - 75]

    def cudaHostAlloc(self, size, flags):
        block = (ctypes.c_uint8 * size)()
        self.memory[ctypes.addressof(block)] = block
        return Error.cudaSuccess, ctypes.addressof(block)

    def cudaMalloc(self, size):
        return self.cudaHostAlloc(size, 0)

    def cudaFree(self, address):
        del self.memory[address]
        return (Error.cudaSuccess,)

    cudaFreeHost = cudaFree

    def cudaStreamCreateWithFlags(self, flags):
        stream = len(self.streams) + 1
        self.streams[stream] = []
        return Error.cudaSuccess, stream

    def cudaStreamDestroy(self, stream):
        del self.streams[stream]
        return (Error.cudaSuccess,)

    def enqueue(self, stream, work):
        self.capturing.get(stream, self.streams[stream]).append(work)

    def cudaMemcpyAsync(self, target, source, count, kind, stream):
        self.enqueue(stream, lambda: ctypes.memmove(target, source, count))
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):
        if stream in self.capturing:
            return (Error.cudaErrorStreamCaptureUnsupported,)
        with self._lock:
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        for work in self.streams[stream]:
            work()
        self.streams[stream].clear()
        with self._lock:
            self.waiting -= 1
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream, mode):
        self.capturing[stream] = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream):
        return Error.cudaSuccess, self.capturing.pop(stream)

    def cudaGraphInstantiate(self, graph, flags):
        return Error.cudaSuccess, list(graph)

    def cudaGraphLaunch(self, graph, stream):
        self.launched += 1
        self.streams[stream].extend(graph)
        return (Error.cudaSuccess,)

    def cudaGraphDestroy(self, graph):
        return (Error.cudaSuccess,)

    cudaGraphExecDestroy = cudaGraphDestroy


class FakeTrt:
    """Bindings whose engines answer as an ONNX file does."""

    __name__, __version__ = "tensorrt", "0.0"

    class ILogger:
        ERROR, INTERNAL_ERROR = 1, 0

        def __init__(self):
            pass

        def log(self, severity, message):
            pass

    def __init__(self, cudart, model, shapes):
        self._cudart, self._model, self._shapes = cudart, model, shapes

    def Runtime(self, logger):
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: self._load(logger, plan))

    def _load(self, logger, plan):
        if plan == b"old":
            logger.log(1, "Version tag does not match. Note: Current Version: 240, Serialized Engine Version: 239")
            return None
        names = list(self._shapes)
        return SimpleNamespace(
            num_io_tensors=len(names),
            get_tensor_name=names.__getitem__,
            get_tensor_shape=lambda name: (-1, *self._shapes[name]),
            create_execution_context=lambda: FakeContext(self._cudart, OnnxRunner(self._model, threads=1)),
        )


class FakeContext:
    """One execution context: shapes are set, addresses are read when the work runs."""

    def __init__(self, cudart, runner):
        self._cudart, self._runner = cudart, runner
        self._shapes, self._addresses = {}, {}

    def set_input_shape(self, name, shape):
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        shapes = dict(self._shapes)
        self._cudart.enqueue(stream, lambda: self._compute(shapes))
        return True

    def _compute(self, shapes):
        feed = {name: self._at(name, shape, np.uint8) for name, shape in shapes.items()}
        answer = self._runner._session.run(["logits"], feed)[0]
        self._at("logits", answer.shape, np.float32)[...] = answer

    def _at(self, name, shape, kind):
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        memory = (ctypes.c_uint8 * count).from_address(self._addresses[name])
        return np.ctypeslib.as_array(memory).view(kind).reshape(shape)
