"""Public encoders as baselines: frozen features of local weights, read by a linear classifier.

The folder holds the weights and ``external.yaml``, which says what its authors' card says: library, model, bands in the
order of its channels, and how pixels are scaled. Nothing is downloaded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from pydantic import Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from bandloom.config import Config
from bandloom.errors import CheckpointError
from bandloom.finetune.baselines.classic import Baseline
from bandloom.finetune.baselines.classifiers import logistic
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.model import torch_compat  # noqa: F401  (timm needs it)
from bandloom.sensors import SLOTS

RECORD = "external.yaml"


class ExternalConfig(Config):
    """``external.yaml``."""

    library: Literal["timm", "torchgeo", "terratorch"] = Field(description="whose code builds the model")
    model: str = Field(description="its name there, such as vit_small_patch16_224")
    weights: str = Field(description="file in the folder: .safetensors, or a state dict that torch.load takes")
    bands: tuple[str, ...] = Field(min_length=1, description="slots in the order of its channels, such as B02")
    scale: float = Field(default=10_000, gt=0, description="its input is reflectance times this, then normalised")
    mean: tuple[float, ...] = Field(default=(), description="by channel, in scaled units; empty: 0")
    std: tuple[float, ...] = Field(default=(), description="by channel, in scaled units; empty: 1")
    side_px: int = Field(default=224, gt=0, description="samples are resized to this side (bilinear)")
    arguments: dict[str, Any] = Field(default_factory=dict, description="further arguments of its builder")


def external_baseline(folder: Path) -> tuple[str, Baseline]:
    """Return a name and a baseline made of the encoder in a folder.

    Raises:
        CheckpointError: the record or the weights cannot be used, or the library is not installed.
    """
    config = _read(folder)
    model = _BUILD[config.library](config)
    _load(model, folder / config.weights)
    encode = model.eval()

    def features(found: Labelled, data: TaskData) -> np.ndarray:
        planes = external_features(encode, config, found, data)
        return planes if found.label.ndim else planes.mean((-2, -1))

    return f"{config.model} ({folder.name})", Baseline(features, logistic, kind="public encoder")


@torch.no_grad()
def external_features(model: nn.Module, config: ExternalConfig, found: Labelled, data: TaskData) -> np.ndarray:
    """Return features ``(D, h, w)`` of a sample: its pixels' size for a map, the encoder's own grid for a chip."""
    slots = [slot for group in data.sensor.groups for slot in group.slots]
    bands = pixel_bands(found.groups, data.sensor) * config.scale
    chosen = np.stack([bands[slots.index(s)] if s in slots else np.full(bands.shape[1:], np.nan) for s in config.bands])
    mean = np.array(config.mean or [0.0] * len(config.bands))[:, None, None]
    std = np.array(config.std or [1.0] * len(config.bands))[:, None, None]
    pixels = torch.from_numpy(np.nan_to_num((chosen - mean) / std).astype(np.float32))[None]
    resized = functional.interpolate(pixels, (config.side_px, config.side_px), mode="bilinear", antialias=True)
    planes = token_planes(model, resized)
    if found.label.ndim:
        planes = functional.interpolate(planes, found.label.shape, mode="nearest")
    return planes[0].numpy()


def token_planes(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return an encoder's last features as planes ``(B, D, h, w)``, whatever form it gives them in."""
    forward: Callable[[Tensor], Any] = getattr(model, "forward_features", model)
    out = forward(pixels)
    out = out[-1] if isinstance(out, list | tuple) else out
    if out.ndim == 4:  # a convolutional network's
        return out
    if out.ndim != 3:
        raise CheckpointError(f"the encoder gives features of shape {tuple(out.shape)}; expected tokens or planes.")
    side = int(out.shape[1] ** 0.5)  # class and register tokens come first and leave the grid a square
    tokens = out[:, out.shape[1] - side * side :]
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def _read(folder: Path) -> ExternalConfig:
    path = folder / RECORD
    try:
        config = ExternalConfig.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as cause:
        first = str(cause).partition("\n")[0] if not isinstance(cause, ValidationError) else _first(cause)
        raise CheckpointError(
            f"{path} cannot be used ({first}); it needs library, model, weights and bands."
        ) from cause
    unknown = [slot for slot in config.bands if slot not in SLOTS]
    if unknown:
        raise CheckpointError(f"{path} names the band {unknown[0]!r}; use {', '.join(SLOTS)}.")
    for name, values in (("mean", config.mean), ("std", config.std)):
        if values and len(values) != len(config.bands):
            raise CheckpointError(f"{path} gives {len(values)} values of {name} for {len(config.bands)} bands.")
    return config


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _load(model: nn.Module, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights: dict[str, Tensor] = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as cause:
        raise CheckpointError(f"the weights {path} cannot be read ({cause}); check external.yaml.") from cause
    for key in ("state_dict", "model"):
        weights = weights.get(key, weights)  # pyright: ignore[reportAssignmentType]
    own = model.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    missing = sorted(own.keys() - fitting.keys())
    if [name for name in missing if not name.startswith(("head", "fc", "classifier"))]:
        raise CheckpointError(
            f"{path} has no fitting {missing[0]} ({len(fitting)} of {len(own)} weights fit); name the model and the"
            " bands that these weights were trained with."
        )
    model.load_state_dict(fitting, strict=False)


def _timm(config: ExternalConfig) -> nn.Module:
    import timm

    try:
        return timm.create_model(config.model, pretrained=False, in_chans=len(config.bands), **config.arguments)
    except (RuntimeError, TypeError) as cause:
        raise CheckpointError(f"timm cannot build {config.model!r} ({cause}).") from cause


def _torchgeo(config: ExternalConfig) -> nn.Module:
    try:
        from torchgeo.models import get_model  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise _not_installed("torchgeo") from cause
    return get_model(config.model, weights=None, in_chans=len(config.bands), **config.arguments)


def _terratorch(config: ExternalConfig) -> nn.Module:
    try:
        from terratorch.registry import BACKBONE_REGISTRY  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise _not_installed("terratorch") from cause
    return BACKBONE_REGISTRY.build(config.model, pretrained=False, **config.arguments)


def _not_installed(name: str) -> CheckpointError:
    return CheckpointError(f"{name} is not installed, which builds this encoder; install it with: pip install {name}.")


_BUILD: dict[str, Callable[[ExternalConfig], nn.Module]] = {
    "timm": _timm,
    "torchgeo": _torchgeo,
    "terratorch": _terratorch,
}
