"""The encoder interface: what every folder may ask of an encoder, this project's or a public one."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import lcm
from typing import Any

from torch import Tensor, nn

from bandloom.errors import CheckpointError
from bandloom.model.statistics import Statistics
from bandloom.sensors import REFERENCE_TOKEN_M, Sensor


class AnyEncoder(nn.Module):
    """Digital numbers of native groups in, one vector for every token of ground out.

    Attributes:
        config: at least ``embed_dim`` (D), ``depth`` (blocks) and ``token_m`` (metres of ground a token covers).
        embed: turns samples into tokens; its buffers ``mean`` and ``std`` ``(13,)`` are reflectance by slot, by which
            heads normalise pixels.
        blocks: transformer blocks, first to last.
        norm: the last norm, with ``weight`` and ``bias``.
    """

    config: Any
    embed_dim: int
    embed: Any
    blocks: nn.ModuleList
    norm: nn.LayerNorm

    @property
    def statistics(self) -> Statistics:
        """Mean and deviation of reflectance by slot, by which heads normalise pixels."""
        return self.embed.statistics

    @property
    def chip_step_m(self) -> int:
        """What the side of a chip is a multiple of: whole tokens on the 60 m grid that all native groups share."""
        return lcm(self.config.token_m, REFERENCE_TOKEN_M)

    @property
    def longest_chip_m(self) -> int | None:
        """The longest side that it was pretrained on, in metres; None where positions are those of the ground."""
        return None

    @property
    def knows_absent_bands(self) -> bool:
        """Whether a band may be absent from single samples of a sensor that has it, as in our own pretraining."""
        return True

    def check_sensor(self, sensor: Sensor) -> None:
        """Check that the encoder knows every slot that the sensor fills.

        Raises:
            CheckpointError: it lacks statistics for a slot, having never seen that band.
        """
        missing = [slot for slot in sensor.slots if slot not in self.statistics.mean]
        if missing:
            raise CheckpointError(
                f"the checkpoint was trained without {', '.join(missing)}, which {sensor.name!r} brings; use a"
                " checkpoint pretrained on this sensor, or pretrain one on these shards."
            )

    def learn_statistics(self, statistics: Statistics) -> None:
        """Take over the statistics of labelled shards where the encoder normalises by others of its own; else nothing.

        Args:
            statistics: of the shards that a head is trained on.
        """

    def title(self) -> str:
        """Return what a model card calls it."""
        return "A bandloom encoder"

    def card_tags(self) -> tuple[str, ...]:
        """Return the tags of its card that tell how it was pretrained."""
        return ("masked-autoencoder",)

    def sampling(self) -> str:
        """Return at which sampling it reads bands, in words."""
        return "every band at its native sampling"

    def trained_on(self) -> str:
        """Return what it was trained on, in words, where no sensor is named."""
        return "not said"

    def stand_ins(self, sensor: Sensor) -> str:
        """Return which band of the sensor stands in for which that it lacks, in words; our own never needs one."""
        return ""

    def licence(self) -> dict[str, str] | None:
        """Return whose work its weights are, or were learnt from, and under which conditions; None of our own alone."""
        return None

    def owe(self, licence: Mapping[str, str] | None) -> None:
        """Note under which conditions a teacher's weights stand; they go with this encoder's from then on.

        Args:
            licence: as :meth:`licence` of the teacher returns it.

        Raises:
            CheckpointError: the encoder has conditions of its own, and these are others.
        """
        if licence is not None and licence != self.licence():
            raise CheckpointError(
                f"{self.title()} is under conditions of its own, and its teacher is {licence['encoder']}; teach one of"
                " bandloom's own encoders instead."
            )

    def licence_lines(self) -> list[str]:
        """Return what a model card says of whose encoder this is, as Markdown; nothing of our own."""
        return []

    @abstractmethod
    def untrained(self) -> "AnyEncoder":
        """Return the same network with weights drawn anew."""

    @abstractmethod
    def to_record(self) -> dict[str, Any]:
        """Return what ``config.json`` says of it, enough to build it again."""

    @abstractmethod
    def samples_per_token(self, sensor: Sensor) -> int:
        """Return S, the samples of a token of this sensor."""

    @abstractmethod
    def samples(self, groups: Mapping[int, Tensor], sensor: Sensor) -> tuple[Tensor, Tensor]:
        """Return normalised samples ``(B, T, S)`` of digital numbers, and their validity ``(B, T, S)``."""

    @abstractmethod
    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the position embedding of a token grid, ``(T, D)``."""

    @abstractmethod
    def forward_tokens(self, samples: Tensor, valid: Tensor, sensor: Sensor, positions: Tensor) -> Tensor:
        """Encode samples ``(B, T, S)`` into features ``(B, T, D)``."""

    @abstractmethod
    def forward_intermediates(
        self, groups: Mapping[int, Tensor], sensor: Sensor, indices: Sequence[int]
    ) -> list[Tensor]:
        """Return the outputs of the blocks at ``indices`` (0 is the first), normalised, ``(B, T, D)`` each."""

    def grid(self, groups: Mapping[int, Tensor]) -> tuple[int, int]:
        """Return token rows and columns of native groups."""
        gsd, group = next(iter(groups.items()))
        return group.shape[-2] * gsd // self.config.token_m, group.shape[-1] * gsd // self.config.token_m

    def forward_features(self, groups: Mapping[int, Tensor], sensor: Sensor) -> Tensor:
        """Encode whole chips of digital numbers ``{gsd_m: (B, C, H, W)}`` into features ``(B, T, D)``, T row by row."""
        samples, valid = self.samples(groups, sensor)
        return self.forward_tokens(samples, valid, sensor, self.positions(*self.grid(groups)))

    def forward(self, groups: Mapping[int, Tensor], sensor: Sensor) -> Tensor:
        """Do as :meth:`forward_features`."""
        return self.forward_features(groups, sensor)
