"""Image towers of a fusion model: tokens on a coarse grid from this project's encoder, or from timm's ResNet-50."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.errors import CheckpointError
from bandloom.finetune.fusion.config import ImageConfig
from bandloom.finetune.model.task_model import normalised_pixels
from bandloom.finetune.probes.frozen_features import GRID
from bandloom.model import torch_compat  # noqa: F401  (timm needs it)
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, load_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.finite_weights import require_finite
from bandloom.model.statistics import Statistics
from bandloom.sensors import Sensor


class EncoderTower(nn.Module):
    """Tokens of the encoder, averaged onto at most 4 x 4 squares.

    Args:
        encoder: pretrained or random.
        sensor: whose native groups arrive.
    """

    def __init__(self, encoder: AnyEncoder, sensor: Sensor) -> None:
        super().__init__()
        encoder.check_sensor(sensor)
        self.encoder, self.sensor, self.dim = encoder, sensor, encoder.embed_dim

    def forward(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return ``(B, G, D)`` of digital numbers ``{gsd_m: (B, C, H, W)}``; partial tokens are filled with absence."""
        padded = {gsd: functional.pad(group.float(), self._padding(gsd, group)) for gsd, group in groups.items()}
        tokens = self.encoder.forward_features(padded, self.sensor)
        planes = tokens.transpose(1, 2).unflatten(2, self.encoder.grid(padded))
        return _coarse(planes)

    def _padding(self, gsd_m: int, group: Tensor) -> tuple[int, int, int, int]:
        down, right = (-side * gsd_m % self.encoder.chip_step_m // gsd_m for side in group.shape[-2:])
        return 0, right, 0, down


class ResNetTower(nn.Module):
    """The last planes of ResNet-50 (He et al. 2016) on all bands at 10 m, averaged onto at most 4 x 4 squares.

    Args:
        sensor: whose native groups arrive.
        statistics: reflectance is normalised by these.
        weights: a state dict as ``.safetensors``; None: random.

    Raises:
        CheckpointError: the weights cannot be read or do not fit.
    """

    dim = 2048

    def __init__(self, sensor: Sensor, statistics: Statistics, weights: Path | None = None) -> None:
        super().__init__()
        import timm

        statistics.require(sensor.slots)
        self.sensor = sensor
        self.network: Any = timm.create_model("resnet50", pretrained=False, in_chans=len(sensor.slots), num_classes=0)
        mean, std = (torch.from_numpy(array) for array in statistics.arrays())
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        if weights is not None:
            _fill(self.network, weights)

    def forward(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return ``(B, G, D)`` of digital numbers ``{gsd_m: (B, C, H, W)}``."""
        pixels = normalised_pixels(groups, self.sensor, self.mean, self.std)
        return _coarse(self.network.forward_features(pixels))


def make_tower(config: ImageConfig, sensor: Sensor, statistics: Statistics, seed: int) -> EncoderTower | ResNetTower:
    """Return the network that a config names; random weights come from ``seed``.

    Raises:
        CheckpointError: its checkpoint cannot be used.
    """
    torch.manual_seed(seed)
    if config.network == "resnet50":
        return ResNetTower(sensor, statistics, config.checkpoint)
    if config.checkpoint is not None:
        return EncoderTower(load_encoder(checkpoint_folder(config.checkpoint)), sensor)
    return EncoderTower(Encoder(EncoderConfig.of_size(config.size, token_m=config.token_m), statistics), sensor)


def _coarse(planes: Tensor) -> Tensor:
    """Average ``(B, D, h, w)`` onto at most 4 x 4 squares, ``(B, G, D)``."""
    rows, columns = (min(GRID, side) for side in planes.shape[-2:])
    return functional.adaptive_avg_pool2d(planes.float(), (rows, columns)).flatten(2).transpose(1, 2)


def _fill(network: nn.Module, path: Path) -> None:
    """Load weights; the classifier's are not wanted, and a first layer for other bands is an error."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        held = cast("dict[str, Tensor]", load_file(path))
    except (OSError, SafetensorError) as cause:
        raise CheckpointError(
            f"the weights {path} cannot be read ({cause}); image.checkpoint of resnet50 is a state"
            " dict of timm's resnet50 as .safetensors."
        ) from cause
    own = network.state_dict()
    wrong = [name for name, value in own.items() if name not in held or held[name].shape != value.shape]
    if wrong:
        raise CheckpointError(
            f"{path} has no fitting {wrong[0]} ({len(own) - len(wrong)} of {len(own)} weights"
            f" fit); it must be timm's resnet50 with {own['conv1.weight'].shape[1]} input bands."
        )
    require_finite(held, path)
    network.load_state_dict({name: held[name] for name in own})
