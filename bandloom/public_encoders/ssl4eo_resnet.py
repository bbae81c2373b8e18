"""SSL4EO-S12's ResNet-50 (Wang et al. 2023, 2211.07044) on thirteen bands of Level-1C, one token to 32 x 32 pixels.

Batch norms are folded into the convolutions before them when a file is read: their statistics are the pretraining's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.errors import CheckpointError
from bandloom.model.embedding import unpatchify
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import get_family
from bandloom.public_encoders.public_encoder import PublicConfig, PublicEncoder, SlotStatistics, own_statistics
from bandloom.public_encoders.published import (
    build,
    fixed_config,
    published_file,
    read_weights,
    require_file,
    require_fixed,
    without_prefix,
)
from bandloom.sensors import Sensor

FAMILY = "ssl4eo_resnet"
STAGES = 4
EXPANSION = 4  # a block's output over its inner width
STEM = 7  # pixels a side of the first kernel
DIVIDE = 10_000.0
NORM_EPS = 1e-5
PREFIXES = ("module.encoder_q.", "module.", "backbone.")


class Stem(SlotStatistics):
    """Pixels of a chip to the first feature map, at a quarter of their sampling."""

    def __init__(self, config: PublicConfig, statistics: Statistics, bands: int) -> None:
        super().__init__(statistics)
        self.side = config.patch_px
        self.conv = nn.Conv2d(bands, config.embed_dim // EXPANSION // 2 ** (STAGES - 1), STEM, 2, STEM // 2)

    def forward(self, samples: Tensor, rows: int) -> Tensor:
        """Return ``(B, C, H / 4, W / 4)`` of samples ``(B, T, S)`` in ``rows`` rows of tokens."""
        pixels = self.conv(unpatchify(samples, self.side, rows)).relu()
        return functional.max_pool2d(functional.pad(pixels, (1, 1, 1, 1)), 3, 2)  # nothing is below 0 here


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut (He et al. 2016, the stride in the second)."""

    def __init__(self, given: int, width: int, stride: int, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1)
        self.conv3 = nn.Conv2d(width, EXPANSION * width, 1)
        self.shortcut = nn.Conv2d(given, EXPANSION * width, 1, stride) if shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the next feature map."""
        inner = self.conv3(self.conv2(self.conv1(x).relu()).relu())
        return (inner + self.shortcut(x)).relu()


class Affine(nn.Module):
    """A weight and a bias for each channel, in the place of other encoders' last norm; 1 and 0 as published."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift ``(B, C, H, W)``."""
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Ssl4eoResnet(PublicEncoder):
    """ResNet-50; see the record ``ssl4eo_resnet.yaml``. Its tokens of several depths are of several widths."""

    def __init__(self, config: PublicConfig, statistics: Statistics | None = None) -> None:
        family = get_family(FAMILY)
        embedding = Stem(config, statistics or own_statistics(config, family), len(family.bands))
        super().__init__(config, statistics, embedding)
        self.norm = Affine(config.embed_dim)  # pyright: ignore[reportAttributeAccessIssue]  # it has weight and bias

    def make_blocks(self) -> list[nn.Module]:
        """Return the blocks of all stages, first to last, with random weights."""
        blocks: list[nn.Module] = []
        given = width = self.config.embed_dim // EXPANSION // 2 ** (STAGES - 1)
        for stage in range(STAGES):
            for index in range(int(self.config.options[f"stage{stage + 1}"])):
                stride = 2 if stage and not index else 1
                blocks.append(Bottleneck(given, width, stride, shortcut=not index))
                given = EXPANSION * width
            width *= 2
        return blocks

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return zeros ``(rows, columns)``: the shape of the grid is all that a convolution needs to know."""
        return torch.zeros(rows, columns, device=self.norm.weight.device)

    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return the first feature map, ``(B, C, H / 4, W / 4)``."""
        return self.embed(samples, positions.shape[0])

    def to_tokens(self, sequence: Tensor, tokens: int) -> Tensor:
        """Return the last feature map as tokens, ``(B, T, D)``."""
        return sequence.flatten(2).transpose(1, 2)

    def forward_intermediates(
        self, groups: Mapping[int, Tensor], sensor: Sensor, indices: Sequence[int]
    ) -> list[Tensor]:
        """Refuse: the depths of a ResNet differ in width and sampling.

        Raises:
            CheckpointError: always, where another depth than the last is asked for.
        """
        if set(indices) == {len(self.blocks) - 1}:
            return [self.forward_features(groups, sensor) for _ in indices]
        raise CheckpointError(
            f"{FAMILY} has no tokens of several depths at one width; use head=linear, which reads the last ones."
        )


def is_folder(folder: Path) -> bool:
    """Tell whether a folder holds one of the published files."""
    return published_file(folder, FAMILY) is not None


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> Ssl4eoResnet:
    """Read the encoder from the published file.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    family = get_family(FAMILY)
    path, size = require_file(folder, FAMILY)
    require_fixed(family, patch_px, month)
    theirs = without_prefix(read_weights(path), "conv1.weight", PREFIXES)

    def make() -> tuple[Ssl4eoResnet, Mapping[str, Tensor]]:
        options = {f"stage{stage}": _count(theirs, stage) for stage in range(1, STAGES + 1)}
        zero = (0.0,) * len(family.bands)
        more = {"shift": zero, "divide": (DIVIDE,) * len(zero), "options": options}
        width = EXPANSION * theirs[f"layer{STAGES}.0.conv1.weight"].shape[0]
        config = fixed_config(family, size, width, sum(options.values()), 1, **more)
        return Ssl4eoResnet(config), _folded(theirs, options, width)

    return build(path, f"ResNet-50 of {len(family.bands)} bands", make)


def _count(theirs: Mapping[str, Tensor], stage: int) -> int:
    return len({name.split(".")[1] for name in theirs if name.startswith(f"layer{stage}.")})


def _folded(theirs: Mapping[str, Tensor], counts: Mapping[str, int], width: int) -> dict[str, Tensor]:
    """Return convolutions with the batch norms after them folded in, under our names."""
    pairs = {"embed.conv": ("conv1", "bn1")}
    blocks = [f"layer{stage + 1}.{index}" for stage, count in enumerate(counts.values()) for index in range(count)]
    for number, block in enumerate(blocks):
        for layer in "123":
            pairs[f"blocks.{number}.conv{layer}"] = f"{block}.conv{layer}", f"{block}.bn{layer}"
        if f"{block}.downsample.0.weight" in theirs:
            pairs[f"blocks.{number}.shortcut"] = f"{block}.downsample.0", f"{block}.downsample.1"
    own = {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    for name, (conv, norm) in pairs.items():
        scale = theirs[f"{norm}.weight"] / (theirs[f"{norm}.running_var"] + NORM_EPS).sqrt()
        own[f"{name}.weight"] = theirs[f"{conv}.weight"] * scale[:, None, None, None]
        own[f"{name}.bias"] = theirs[f"{norm}.bias"] - theirs[f"{norm}.running_mean"] * scale
    return own
