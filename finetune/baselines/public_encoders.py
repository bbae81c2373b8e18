"""Public encoders as baselines: frozen features of local weights, read by a linear classifier.

A family that is known (`bandloom encoder list`) is read through the interface of our own encoders. For any other the
folder holds the weights and ``external.yaml``, which says what its authors' card says: library, model, bands in the
order of its channels, and how pixels are scaled. Nothing is downloaded.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from pydantic import Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from bandloom.command_line.config import Config
from bandloom.errors import CheckpointError
from bandloom.finetune.baselines.classic import Baseline
from bandloom.finetune.baselines.classifiers import logistic
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.finetune.data.splits import PIXEL_M
from bandloom.finetune.scores.scoring import cut
from bandloom.model import torch_compat  # noqa: F401  (timm needs it)
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, load_encoder
from bandloom.model.finite_weights import require_finite
from bandloom.sensors import SLOTS, Sensor

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
    side_px: int = Field(default=224, gt=0, description="pixels of 10 m a side of what it sees at once")
    arguments: dict[str, Any] = Field(default_factory=dict, description="further arguments of its builder")


def external_baseline(folder: Path, sensor: Sensor) -> tuple[str, Baseline]:
    """Return a name and a baseline made of the encoder in a folder.

    Args:
        folder: a checkpoint, a known public encoder as its authors publish it, or any weights beside ``external.yaml``.
        sensor: whose bands it is shown.

    Raises:
        CheckpointError: the record or the weights cannot be used, the library is not installed, or the sensor lacks a
            band or is of another level.
    """
    if not (folder / RECORD).is_file():
        encoder = load_encoder(checkpoint_folder(folder)).eval()
        encoder.check_sensor(sensor)
        return f"{encoder.title()} ({folder.name})", _baseline(lambda groups: encoder_planes(encoder, groups, sensor))
    config = _read(folder)
    lacking = [slot for slot in config.bands if slot not in sensor.slots]
    if lacking:
        raise CheckpointError(
            f"{folder / RECORD} names {', '.join(lacking)}, which {sensor.name!r} lacks; a band is never made up: use"
            " shards of a sensor that has it, or an encoder without it."
        )
    model = _BUILD[config.library](config)
    _load(model, folder / config.weights)
    encode = model.eval()
    return f"{config.model} ({folder.name})", _baseline(lambda groups: external_planes(encode, config, groups, sensor))


Groups = Mapping[int, np.ndarray]  # {gsd_m: (C, H, W)}


def _baseline(planes: Callable[[Groups], np.ndarray]) -> Baseline:
    """Return a linear classifier on planes ``(D, H, W)``: of every pixel of a map, or their mean over a chip."""

    def features(sample: Labelled, data: TaskData) -> np.ndarray:
        made = planes(sample.groups)
        return made if data.answer.per_pixel else made.mean((-2, -1))

    return Baseline(features, logistic, kind="public encoder")


@torch.no_grad()
def encoder_planes(encoder: AnyEncoder, groups: Groups, sensor: Sensor) -> np.ndarray:
    """Return an encoder's tokens over the 10 m pixels of a sample, ``(D, H, W)``, cut into chips that it can take.

    What a last chip lacks is absent samples; nothing is stretched.
    """
    device = next(encoder.parameters()).device
    gsd_m, first = next(iter(groups.items()))
    size = [side * gsd_m // PIXEL_M for side in first.shape[-2:]]
    step = encoder.chip_step_m // PIXEL_M
    most = (encoder.longest_chip_m or max(size) * PIXEL_M) // PIXEL_M
    side = max(1, min(most // step, -(-max(size) // step))) * step

    def planes(y: int, x: int) -> Tensor:
        chip = {g: torch.from_numpy(dn[None].astype(np.int32)).to(device) for g, dn in cut(groups, y, x, side).items()}
        tokens = encoder.forward_features(chip, sensor).float().cpu()
        return tokens.transpose(1, 2).unflatten(2, encoder.grid(chip))

    return _tiled(planes, size, side)


@torch.no_grad()
def external_planes(model: nn.Module, config: ExternalConfig, groups: Groups, sensor: Sensor) -> np.ndarray:
    """Return a network's features over the 10 m pixels of a sample, ``(D, H, W)``, cut into squares of ``side_px``.

    What a last square lacks is 0 after normalisation, the mean; nothing is stretched.
    """
    slots = [slot for group in sensor.groups for slot in group.slots]
    bands = pixel_bands(groups, sensor) * config.scale
    chosen = np.stack([bands[slots.index(slot)] for slot in config.bands])
    mean = np.array(config.mean or [0.0] * len(config.bands))[:, None, None]
    std = np.array(config.std or [1.0] * len(config.bands))[:, None, None]
    pixels = torch.from_numpy(np.nan_to_num((chosen - mean) / std).astype(np.float32))
    side = config.side_px

    def planes(y: int, x: int) -> Tensor:
        part = pixels[:, y : y + side, x : x + side]
        padded = functional.pad(part, (0, side - part.shape[2], 0, side - part.shape[1]))
        return token_planes(model, padded[None])

    return _tiled(planes, list(pixels.shape[-2:]), side)


def _tiled(planes: Callable[[int, int], Tensor], size: list[int], side: int) -> np.ndarray:
    """Put the planes ``(1, D, h, w)`` of squares of ``side`` pixels together on the pixels of ``size``."""
    rows = []
    for y in range(0, size[0], side):
        row = [functional.interpolate(planes(y, x), (side, side), mode="nearest") for x in range(0, size[1], side)]
        rows.append(torch.cat(row, dim=3))
    return torch.cat(rows, dim=2)[0, :, : size[0], : size[1]].numpy()


def token_planes(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return an encoder's last features as planes ``(B, D, h, w)``, whatever form it gives them in.

    Raises:
        CheckpointError: the tokens of the image cannot be told from those that stand for none of its ground.
    """
    forward: Callable[[Tensor], Any] = getattr(model, "forward_features", model)
    out = forward(pixels)
    out = out[-1] if isinstance(out, list | tuple) else out
    if out.ndim == 4:  # a convolutional network's
        return out
    if out.ndim != 3:
        raise CheckpointError(f"the encoder gives features of shape {tuple(out.shape)}; expected tokens or planes.")
    before = getattr(model, "num_prefix_tokens", None)  # class and register tokens come first
    before = before if isinstance(before, int) else int(math.isqrt(out.shape[1]) ** 2 != out.shape[1])
    side = math.isqrt(out.shape[1] - before)
    if side * side != out.shape[1] - before:
        raise CheckpointError(
            f"the encoder gives {out.shape[1]} tokens of {pixels.shape[-1]} x {pixels.shape[-2]} pixels, {before} of"
            " them before the image's: the others form no square, so their places are not known; use another encoder."
        )
    return out[:, before:].transpose(1, 2).unflatten(2, (side, side))


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
        weights = weights.get(key, weights) if isinstance(weights, dict) else weights  # pyright: ignore
    if not isinstance(weights, dict):
        raise CheckpointError(f"{path} holds a {type(weights).__name__} and no weights by name; check external.yaml.")
    require_finite({name: value for name, value in weights.items() if isinstance(value, Tensor)}, path)
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
