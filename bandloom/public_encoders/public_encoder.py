"""A public encoder behind the interface of our own: native digital numbers in, one vector a token of ground out.

A family gives two steps around plain transformer blocks: how a token's samples become vectors of the sequence, and how
the sequence becomes one vector a token again. What its authors compute at run time from the size of the patch, the
place in the image and the month is computed once here, so that an exported model holds it as constants.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from bandloom import __version__
from bandloom.command_line.config import Config
from bandloom.command_line.console import logger
from bandloom.errors import CheckpointError
from bandloom.model import torch_compat  # noqa: F401  (timm needs it)
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.embedding import check_groups, patchify
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import Family, get_family
from bandloom.public_encoders.nearest_slot import nearest_slots, said_of
from bandloom.public_encoders.pixels import on_one_grid
from bandloom.rasters.values import OFFSET, SCALE
from bandloom.sensors import Sensor
from bandloom.training.device_memory import constant


class PublicConfig(Config):
    """The shape of a public encoder and the numbers that its input is normalised by: enough to build it again."""

    family: str
    size: str = Field(description="the authors' name of it, such as nano")
    embed_dim: int = Field(gt=0, description="D")
    depth: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    mlp_ratio: float = Field(default=4.0, gt=0)
    gsd_m: int = Field(gt=0, description="metres a pixel of its input")
    patch_px: int = Field(gt=0, description="pixels a side of a token, fixed for life")
    mean: tuple[float, ...] = Field(description="by band, in the family's units: what absent samples are set to")
    std: tuple[float, ...] = Field(description="by band, in the family's units: by which heads normalise")
    shift: tuple[float, ...] = Field(description="by band: the input is (value - shift) / divide")
    divide: tuple[float, ...] = Field(description="by band")
    low: tuple[float, ...] = Field(default=(), description="by band, in the family's units: values are clipped to it")
    high: tuple[float, ...] = Field(default=(), description="likewise, from above; both empty: nothing is clipped")
    month: int | None = Field(default=None, ge=0, le=11, description="the constant month, 0 is January")
    options: dict[str, int | float | str] = Field(
        default_factory=dict, description="numbers of the network that one family alone has"
    )
    nearest_slot: bool = Field(
        default=False, description="a band that a sensor lacks is read from its nearest one, as the user asked"
    )

    @property
    def token_m(self) -> int:
        """Metres of ground a token covers."""
        return self.patch_px * self.gsd_m


class SlotStatistics(nn.Module):
    """Mean and deviation of reflectance by slot, by which heads normalise pixels; base of a family's embedding."""

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        mean, std = (torch.from_numpy(array) for array in statistics.arrays())
        self.statistics = statistics
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def take(self, statistics: Statistics) -> None:
        """Replace them."""
        mean, std = statistics.arrays()
        self.statistics = statistics
        self.mean, self.std = torch.from_numpy(mean).to(self.mean), torch.from_numpy(std).to(self.std)


class PublicEncoder(AnyEncoder):
    """Base of every family; ``blocks`` are timm's, whatever its authors call the parameters.

    Args:
        config: its shape and normalisation.
        statistics: of reflectance by slot, for heads; None: the encoder's own where it has some.
        embedding: the family's module from samples to the sequence.
        norm_eps: of the layer norms.
    """

    def __init__(
        self, config: PublicConfig, statistics: Statistics | None, embedding: SlotStatistics, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.config = config
        self.embed_dim = config.embed_dim
        self.family: Family = get_family(config.family)
        _require_scale(config, self.family)
        self.embed = embedding
        self.embed.take(statistics or own_statistics(config, self.family))
        width = config.embed_dim
        self.blocks = nn.ModuleList(self.make_blocks())
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        for module in self.blocks.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = norm_eps
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def make_blocks(self) -> list[nn.Module]:
        """Return all blocks, first to last, with random weights."""
        return [self.make_block() for _ in range(self.config.depth)]

    def make_block(self) -> nn.Module:
        """Return one block with random weights."""
        from timm.models.vision_transformer import Block

        return Block(self.config.embed_dim, self.config.num_heads, self.config.mlp_ratio, qkv_bias=True)

    def step(self, index: int, sequence: Tensor, positions: Tensor) -> Tensor:
        """Return what the block of that index makes of ``(B, N, D)``; ``positions`` are those of :meth:`positions`."""
        return self.blocks[index](sequence)

    @abstractmethod
    def to_sequence(self, samples: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Return what the blocks read, ``(B, N, D)``, of samples ``(B, T, S)`` and positions ``(T, D)``."""

    @abstractmethod
    def to_tokens(self, sequence: Tensor, tokens: int) -> Tensor:
        """Return one vector a token of ground, ``(B, T, D)``, of the normalised sequence ``(B, N, D)``."""

    def finish(self, sequence: Tensor, tokens: int, positions: Tensor) -> Tensor:
        """Return one normalised vector a token of ground, ``(B, T, D)``, of the last block's ``(B, N, D)``."""
        return self.to_tokens(self.norm(sequence), tokens)

    def at_depth(self, sequence: Tensor, tokens: int, positions: Tensor) -> Tensor:
        """Return the same of what an earlier block gives."""
        return self.finish(sequence, tokens, positions)

    @property
    def longest_chip_m(self) -> int | None:
        """The longest side that it was pretrained on, in metres."""
        return self.family.side_tokens[1] * self.config.token_m

    @property
    def knows_absent_bands(self) -> bool:
        """No: a band that is absent from all samples would be filled by a mean, which none of its pretraining saw."""
        return False

    def check_sensor(self, sensor: Sensor) -> None:
        """Check product level and bands.

        Raises:
            CheckpointError: the sensor is of another level, or lacks a band that the family does not do without.
        """
        self.bands_of(sensor)
        if said := self.stand_ins(sensor):
            logger.warning("%s has none of its own: %s", sensor.name, said)

    def bands_of(self, sensor: Sensor) -> tuple[str, ...]:
        """Return the bands that reach the encoder, in the order of its channels; all where stand-ins are allowed.

        Raises:
            CheckpointError: the sensor is of another level, or lacks a band that the encoder needs.
        """
        if not self.config.nearest_slot:
            return self.family.bands_of(sensor)
        self.family.check_level(sensor)
        nearest_slots(self.family.bands, sensor)
        return self.family.bands

    def stand_ins(self, sensor: Sensor) -> str:
        """Return which band of the sensor stands in for which, in words; empty where none does."""
        return said_of(nearest_slots(self.family.bands, sensor)) if self.config.nearest_slot else ""

    def learn_statistics(self, statistics: Statistics) -> None:
        """Normalise the pixels that heads read by the statistics of labelled shards; the encoder keeps its own."""
        self.embed.take(statistics)

    def untrained(self) -> "PublicEncoder":
        """Return the same network with weights drawn anew."""
        return type(self)(self.config, self.statistics)  # pyright: ignore[reportCallIssue]  # families take two

    def to_record(self) -> dict[str, Any]:
        """Return what ``config.json`` says of it, the licence included."""
        return {
            "bandloom_version": __version__,
            "encoder": self.config.model_dump(mode="json"),
            "statistics": self.statistics.model_dump(mode="json"),
            "encoder_licence": self.licence(),
        }

    def licence(self) -> dict[str, str]:
        """Return whose weights these are, and under which conditions, as checkpoints and bundles carry it."""
        of = self.family
        return {"encoder": of.title, "source": of.source, **of.licence.model_dump()}

    def title(self) -> str:
        """Return what a model card calls it."""
        return f"{self.family.title}, {self.config.size}"

    def card_tags(self) -> tuple[str, ...]:
        """Return the tags of its card."""
        return (self.config.family,)

    def sampling(self) -> str:
        """Return at which sampling it reads bands, in words."""
        return f"every band brought to pixels of {self.config.gsd_m} m"

    def trained_on(self) -> str:
        """Return what its authors trained it on, in words."""
        return f"{', '.join(self.family.bands)} ({self.family.level} reflectance), by its authors"

    def licence_lines(self) -> list[str]:
        """Return what a model card says of whose encoder this is, as Markdown."""
        own = self.licence()
        return [
            "",
            "## The encoder's licence",
            "",
            f"The encoder is {own['encoder']}, {own['source']}, under {own['name']}. {own['conditions']}",
        ]

    @property
    def samples_px(self) -> int:
        """Pixels a side of the samples of a token: the patch's, unless the input is resized."""
        return self.config.patch_px

    def samples_per_token(self, sensor: Sensor) -> int:
        """Return S, the pixels of a token on the encoder's grid, all its bands."""
        return len(self.bands_of(sensor)) * self.samples_px**2

    def samples(self, groups: Mapping[int, Tensor], sensor: Sensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's input cut into tokens.

        An absent sample takes the mean of its band over the token's measured ones, or the pretraining mean where there
        is none.

        Args:
            groups: digital numbers by gsd in metres, ``(B, C, H, W)`` each.
            sensor: whose groups they are.

        Returns:
            Samples ``(B, T, S)``, normalised as the family does, band by band, and whether each was measured.

        Raises:
            CheckpointError: the sensor is of another level or lacks a band.
            SceneError: a group is missing, has other bands, or does not tile into tokens.
        """
        slots, config = self.bands_of(sensor), self.config
        other = nearest_slots(slots, sensor)
        check_groups({gsd: tuple(group.shape) for gsd, group in groups.items()}, sensor, config.token_m)
        dn, valid = on_one_grid(groups, sensor, [other.get(slot, slot) for slot in slots], config.gsd_m)
        shift, divide, absent = (self._of_bands(numbers, slots, dn) for numbers in self._normalisation())
        pixels = (self._clipped((dn - OFFSET) * self._unit(), slots) - shift[:, None, None]) / divide[:, None, None]
        side, shape = config.patch_px, (len(slots), config.patch_px**2)
        value = patchify(torch.where(valid, pixels, 0.0), side).unflatten(2, shape)  # (B, T, C, p * p)
        there = patchify(valid.float(), side).unflatten(2, shape)
        measured = there.sum(-1, keepdim=True)
        fill = torch.where(measured > 0, value.sum(-1, keepdim=True) / measured.clamp(min=1.0), absent[:, None])
        return torch.where(there > 0, value, fill).flatten(2), (there > 0).flatten(2)

    def forward_tokens(self, samples: Tensor, valid: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Encode samples ``(B, T, S)`` at positions ``(T, D)`` into features ``(B, T, D)``."""
        sequence = self.to_sequence(samples, sensor, positions)
        for index in range(len(self.blocks)):
            sequence = self.step(index, sequence, positions)
        return self.finish(sequence, samples.shape[1], positions)

    def forward_intermediates(
        self, groups: Mapping[int, Tensor], sensor: Sensor, indices: Sequence[int]
    ) -> list[Tensor]:
        """Return the outputs of the blocks at ``indices`` (0 is the first), normalised, ``(B, T, D)`` each."""
        samples, _ = self.samples(groups, sensor)
        positions = self.positions(*self.grid(groups))
        sequence = self.to_sequence(samples, sensor, positions)
        kept = {}
        for index in range(len(self.blocks)):
            sequence = self.step(index, sequence, positions)
            if index in indices:
                of = self.finish if index + 1 == len(self.blocks) else self.at_depth
                kept[index] = of(sequence, samples.shape[1], positions)
        return [kept[index] for index in indices]

    def _unit(self) -> float:
        return 1.0 if self.family.units == "reflectance * 10000" else 1.0 / SCALE

    def _normalisation(self) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
        config = self.config
        absent = [(m - s) / d for m, s, d in zip(config.mean, config.shift, config.divide, strict=True)]
        return config.shift, config.divide, absent

    def _clipped(self, values: Tensor, slots: Sequence[str]) -> Tensor:
        config = self.config
        if not config.low:
            return values
        low, high = (self._of_bands(limits, slots, values)[:, None, None] for limits in (config.low, config.high))
        return torch.minimum(torch.maximum(values, low), high)

    def _of_bands(self, values: Sequence[float], slots: Sequence[str], like: Tensor) -> Tensor:
        """Return the values of some bands ``(C,)`` in float32: constants, which a cast to 16 bits leaves alone."""
        chosen = tuple(values[self.family.bands.index(slot)] for slot in slots)
        return constant(like.device, _float32, chosen)


def _float32(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _require_scale(config: PublicConfig, family: Family) -> None:
    numbers = (config.mean, config.std, config.shift, config.divide)
    limits = (config.low, config.high) if config.low or config.high else ()
    if any(len(list_) != len(family.bands) for list_ in (*numbers, *limits)) or min(config.divide) <= 0:
        raise CheckpointError(
            f"the scale of {config.family}'s input is unknown: mean, std, shift and divide need one number for each of"
            f" {', '.join(family.bands)}, divide above 0; use a checkpoint whose config.json was not edited."
        )


def own_statistics(config: PublicConfig, family: Family) -> Statistics:
    """Return mean and deviation of reflectance by slot of the data that the encoder was pretrained on."""
    unit = SCALE if family.units == "reflectance * 10000" else 1
    mean = {slot: value / unit for slot, value in zip(family.bands, config.mean, strict=True)}
    std = {slot: value / unit for slot, value in zip(family.bands, config.std, strict=True)}
    return Statistics(mean=mean, std=std)
