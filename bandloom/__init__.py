"""The ground floor: bands, sensors, encoders and checkpoints, the training engine, and what every folder shares."""

import os
from importlib import import_module

if not os.path.isdir(os.path.join(os.path.dirname(__file__), "shards")):
    raise ImportError(
        f"{os.path.dirname(__file__)} has lost its links to the folders beside it (its shards is no folder): a zip"
        " download or a checkout without symbolic links; use `git clone` with core.symlinks=true, or the wheel."
    )

__version__ = "0.1.0"

# What Python callers start from: its name, and where it lives. Imported when asked for, torch only where it is needed.
_PUBLIC = {
    "open_scene": "bandloom.shards.scenes",
    "load_encoder": "bandloom.pretrain.features",
    "load_model": "bandloom.export.from_torch.torch_model",
    "Bundle": "bandloom.export.predict.in_memory",
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'bandloom' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
