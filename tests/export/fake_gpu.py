"""What stands in for a GPU where there is none: the CUDA runtime's calls over host memory, and an engine over them.

Work is queued on streams and runs when a stream is waited for, as on a device; what is captured does not run until its
graph is launched. The engine's arithmetic is ONNX Runtime's. NVIDIA's rules of capturing are held: what a context still
has to settle after its shapes were set may not be captured, and no graph is launched after its context was changed.
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
        runtime = SimpleNamespace(engine_host_code_allowed=False)
        runtime.deserialize_cuda_engine = lambda plan: self._load(logger, plan, runtime.engine_host_code_allowed)
        return runtime

    def _load(self, logger, plan, host_code_allowed):
        if plan == b"old":
            logger.log(1, "Version tag does not match. Note: Current Version: 240, Serialized Engine Version: 239")
            return None
        if plan == b"lean" and not host_code_allowed:
            logger.log(1, "Loading a version compatible plan with host code is not allowed")
            return None
        return SimpleNamespace(
            num_io_tensors=len(self._shapes),
            get_tensor_name=list(self._shapes).__getitem__,
            get_tensor_shape=lambda name: (-1, *self._shapes[name]),
            create_execution_context=lambda: FakeContext(self._cudart, OnnxRunner(self._model, threads=1), logger),
        )


class FakeRtx(FakeTrt):
    """TensorRT-RTX's part of it: kernels are compiled when they first run, and kept in a cache that can be stored."""

    __name__ = "tensorrt_rtx"
    CudaGraphStrategy = SimpleNamespace(DISABLED=0, WHOLE_GRAPH_CAPTURE=1)

    def __init__(self, cudart, model, shapes):
        super().__init__(cudart, model, shapes)
        self.configs = []

    def _load(self, logger, plan, host_code_allowed):
        engine = super()._load(logger, plan, host_code_allowed)
        plain = engine.create_execution_context
        engine.create_runtime_config = self._config
        engine.create_execution_context = lambda config: plain()
        return engine

    def _config(self):
        self.configs.append(FakeConfig())
        return self.configs[-1]


class FakeConfig:
    """A runtime configuration whose cache is valid if it begins with the right word."""

    def __init__(self):
        self.cuda_graph_strategy, self.cache, self.loaded = 0, None, b""

    def create_runtime_cache(self):
        return SimpleNamespace(deserialize=self._deserialize, serialize=lambda: b"kernels of this box")

    def _deserialize(self, blob):
        self.loaded = blob if blob.startswith(b"kernels") else b""
        return bool(self.loaded)

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


class FakeContext:
    """One execution context: shapes are set, addresses are read when the work runs."""

    def __init__(self, cudart, runner, logger=None):
        self._cudart, self._runner, self._logger = cudart, runner, logger
        self._shapes, self._addresses = {}, {}
        self._settled, self._changes = False, 0

    def set_input_shape(self, name, shape):
        if self._shapes.get(name) != shape:
            self._settled, self._changes = False, self._changes + 1
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        self._settled, self._changes = False, self._changes + 1
        return True

    def is_stream_capturable(self, stream):
        return True

    def execute_async_v3(self, stream):
        if stream in self._cudart.capturing and not self._settled:
            raise AssertionError("captured straight after its shapes were set, with no execution between")
        self._settled = True
        shapes, changes = dict(self._shapes), self._changes
        self._cudart.enqueue(stream, lambda: self._compute(shapes, changes))
        return True

    def _compute(self, shapes, changes):
        if changes != self._changes:
            raise AssertionError("a graph was launched whose execution context has been changed since")
        feed = {name: self._at(name, shape, np.uint8) for name, shape in shapes.items()}
        answer = self._runner._session.run(["logits"], feed)[0]
        self._at("logits", answer.shape, np.float32)[...] = answer

    def _at(self, name, shape, kind):
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        memory = (ctypes.c_uint8 * count).from_address(self._addresses[name])
        return np.ctypeslib.as_array(memory).view(kind).reshape(shape)
