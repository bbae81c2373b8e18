"""Kernels that TensorRT-RTX compiles on the box when they first run, kept in a cache; CUDA graphs are its own."""

import hashlib
import os
from pathlib import Path
from typing import Any

from bandloom.command_line.console import logger


class RtxKernels:
    """The runtime configuration of one engine, and the file that keeps its compiled kernels.

    The file lies in ``BANDLOOM_RTX_CACHE``, else in ``$XDG_CACHE_HOME/bandloom/tensorrt-rtx``; its name says the
    engine's content, the version and the GPU. It only saves time: without it, or where it is damaged or cannot be
    written, the kernels are compiled again.
    """

    def __init__(self, trt: Any, engine: Any, plan: bytes, capability: str) -> None:
        """Read what an earlier process has compiled for ``plan`` on a GPU of this ``capability``."""
        self.path = _folder() / f"{hashlib.sha256(plan).hexdigest()[:32]}-{trt.__version__}-{capability}.kernels"
        self.config = engine.create_runtime_config()
        self.config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._cache = self.config.create_runtime_cache()
        self._stored = _read(self.path)
        if self._stored and self._cache.deserialize(self._stored) is False:
            logger.debug("%s: compiled kernels cannot be read; they are compiled again", self.path)
            self._stored = b""
        self.config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Write what was compiled, if anything is new."""
        compiled = bytes(memoryview(self._cache.serialize() or b""))
        if not compiled or compiled == self._stored:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(compiled)
            temporary.replace(self.path)
        except OSError as cause:
            logger.debug("%s: compiled kernels cannot be kept: %s", self.path, cause)
        self._stored = compiled


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("BANDLOOM_RTX_CACHE") or Path(home) / "bandloom" / "tensorrt-rtx")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
