"""DeepSpeed's compiled operators: checked first, built once a machine, never waiting for the lock of a dead build.

On a CPU it builds its shared-memory exchange for gloo, whatever the stage; on CUDA it needs no build for what we use.
"""

import fcntl
import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

import torch

from bandloom.errors import ConfigError


def prepare_build(device: torch.device) -> None:
    """Build the exchange for gloo under a lock that dies with its owner; nothing to do on CUDA.

    torch's own lock for such builds is a file that a killed build leaves behind, and every later run then waits for
    ever without a word. Builds go to a folder of our own, one a machine, where our lock is held: a file that is found
    there is stale, and removed.

    Raises:
        ConfigError: ninja or the compiler is missing.
    """
    if device.type == "cuda":
        return
    _require_tools()
    folder = extensions_folder()
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".building").open("w") as guard:  # one for all nodes that share the folder
        fcntl.flock(guard, fcntl.LOCK_EX)
        for stale in folder.glob("*/lock"):
            stale.unlink(missing_ok=True)
        from deepspeed.accelerator import get_accelerator  # type: ignore[import-not-found]

        accelerator: Any = get_accelerator()
        accelerator.create_op_builder("ShareMemCommBuilder").load()


def extensions_folder() -> Path:
    """Return where extensions are built: ``TORCH_EXTENSIONS_DIR``, or a folder of this machine's own."""
    if given := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    tag = f"{platform.node()}-py{sysconfig.get_python_version()}-torch{torch.__version__}"
    return cache / "bandloom" / "torch_extensions" / tag


def _require_tools() -> None:
    beside_python = str(
        Path(sys.executable).parent
    )  # pip puts ninja there, and a venv that is not active is not on PATH
    if shutil.which("ninja") is None and shutil.which("ninja", path=beside_python):
        os.environ["PATH"] = f"{beside_python}{os.pathsep}{os.environ.get('PATH', '')}"
    if shutil.which("ninja") is None:
        raise ConfigError(
            "DeepSpeed on a CPU compiles a small extension when it starts, and ninja is not installed; install it with:"
            " pip install ninja, or use trainer.engine.kind=torch."
        )
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"DeepSpeed on a CPU compiles a small extension when it starts, and the compiler {compiler!r} is not"
            " installed; install one (apt install g++) or name it in CXX, or use trainer.engine.kind=torch."
        )
