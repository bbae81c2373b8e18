"""Networks from scratch as baselines: ResNet-50, EfficientNet-B0 and a small U-Net on all bands.

They see every band on the 10 m grid, normalised as the encoder normalises, and keep a task model's interface, so that
the same code trains and scores them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.classes.label_set import LabelSet
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.model.task_model import TaskModel, normalised_pixels
from bandloom.finetune.training.warm_start import warm_start
from bandloom.model import torch_compat  # noqa: F401  (timm needs it)
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import Sensor
from bandloom.target import Target
from bandloom.tasks import TaskName


class PixelNetwork(nn.Module):
    """Digital numbers in, class logits out, through a network on pixels.

    Args:
        network: ``(B, C, H, W)`` to ``(B, K)`` or ``(B, K, H, W)``.
        sensor: whose native groups arrive.
        label_set: what the K logits mean.
        task: as of a task model.
        chip_px: side of a chip in 10 m pixels.
        statistics: reflectance is normalised by these.
    """

    def __init__(
        self,
        network: nn.Module,
        sensor: Sensor,
        label_set: LabelSet,
        task: TaskName,
        chip_px: int,
        statistics: Statistics,
    ) -> None:
        super().__init__()
        self.network, self.sensor, self.label_set, self.task, self.chip_px = network, sensor, label_set, task, chip_px
        self.target: Target | None = None
        statistics.require(sensor.slots)
        mean, std = (torch.from_numpy(array) for array in statistics.arrays())
        self.mean: Any
        self.std: Any
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, groups: Mapping[int, Tensor]) -> Tensor:
        """Return logits of chips of digital numbers ``{gsd_m: (B, C, H, W)}``."""
        return self.network(normalised_pixels(groups, self.sensor, self.mean, self.std))


def timm_classifier(name: str, bands: int, classes: int) -> nn.Module:
    """Return timm's network of that name with ``bands`` input channels and random weights."""
    import timm

    return timm.create_model(name, pretrained=False, in_chans=bands, num_classes=classes)


class UNet(nn.Module):
    """A small U-Net (Ronneberger et al. 2015): three halvings, group norm, any even size.

    Args:
        bands: C.
        classes: K.
        width: channels at full size; doubled at each halving.
    """

    def __init__(self, bands: int, classes: int, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([bands, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(_double(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits ``(B, K, H, W)`` of pixels ``(B, C, H, W)``."""
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            pixels = block(pixels if level == 0 else functional.max_pool2d(pixels, 2, ceil_mode=True))
            kept.append(pixels)
        for block, skip in zip(self.up, reversed(kept[:-1]), strict=True):
            pixels = functional.interpolate(pixels, skip.shape[-2:], mode="nearest")
            pixels = block(torch.cat([skip, pixels], 1))
        return self.classify(pixels)


def _double(inward: int, outward: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inward, outward):
        layers += [nn.Conv2d(channels, outward, 3, padding=1), nn.GroupNorm(8, outward), nn.GELU()]
    return nn.Sequential(*layers)


NetworkMaker = Callable[[TaskData, FinetuneConfig, int], nn.Module]  # of labels, a config and the side of a chip


def on_pixels(make: Callable[[int, int], nn.Module]) -> NetworkMaker:
    """Return a maker of networks that see every band on the 10 m grid.

    Args:
        make: from C bands and K classes to a network.
    """

    def build(data: TaskData, config: FinetuneConfig, chip_px: int) -> nn.Module:
        network = make(len(data.sensor.slots), len(data.label_set))
        statistics = Statistics.from_mapping(data.shards.statistics)
        model = PixelNetwork(network, data.sensor, data.label_set, config.task, chip_px, statistics)
        model.target = data.target
        return model

    return build


def random_vit(data: TaskData, config: FinetuneConfig, chip_px: int) -> nn.Module:
    """Return the fine-tuned network itself, of the config's size, from random weights."""
    statistics = Statistics.from_mapping(data.shards.statistics)
    encoder = Encoder(EncoderConfig.of_size(config.size, token_m=config.token_m), statistics)
    model = TaskModel(encoder, data.sensor, data.label_set, config.task, chip_px, target=data.target)
    warm_start(model, data, config)
    return model
