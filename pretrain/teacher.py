"""A frozen teacher: any encoder of the interface, whose tokens are brought to the student's by area."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bandloom.errors import CheckpointError, ConfigError
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import checkpoint_folder, is_public, load_encoder, read_record
from bandloom.model.token_layout import area_overlap
from bandloom.sensors import Sensor


class Teacher:
    """An encoder that says what a student's tokens should be; it is never trained, and no part of a checkpoint.

    Args:
        encoder: the frozen encoder.
        token_m: metres that a token of the student covers.
        levels: the reflectance levels that it was trained on; None where the encoder itself refuses others.
    """

    def __init__(self, encoder: AnyEncoder, token_m: int, levels: frozenset[str] | None = None) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.token_m, self.levels = token_m, levels
        self.embed_dim = encoder.embed_dim

    def check_sensor(self, sensor: Sensor) -> None:
        """Check product level and bands.

        Raises:
            CheckpointError: the sensor is of a level that it was not trained on, or lacks a band that it needs, or
                brings one that it never saw.
        """
        if self.levels is not None and sensor.reflectance not in self.levels:
            raise CheckpointError(
                f"the teacher was trained on {' and '.join(sorted(self.levels))} reflectance, and {sensor.name!r} is"
                f" {sensor.reflectance}; use shards of its level, another teacher, or objective.untaught=pixels with a"
                " pixel_weight."
            )
        self.encoder.check_sensor(sensor)

    def title(self) -> str:
        """Return what a card calls it."""
        return self.encoder.title()

    def licence(self) -> dict[str, str] | None:
        """Return under which conditions its weights stand; None of our own alone."""
        return self.encoder.licence()

    def takes(self, sensor: Sensor) -> bool:
        """Tell whether it takes a sensor."""
        try:
            self.check_sensor(sensor)
        except CheckpointError:
            return False
        return True

    def check_side(self, side_px: int) -> None:
        """Check that a chip tiles into its tokens, and is no longer than what it was pretrained on.

        Raises:
            ConfigError: it does not, or is longer.
        """
        step_m, longest_m, side_m = self.encoder.chip_step_m, self.encoder.longest_chip_m, 10 * side_px
        most_m = min(side_m, longest_m or side_m) // step_m * step_m
        if side_m % step_m or most_m < side_m:
            wanted = f"crop_px={most_m // 10}" if most_m else f"samples of {step_m // 10} pixels or more"
            limit = f" and was pretrained on at most {longest_m} m" if longest_m else ""
            raise ConfigError(
                f"chips of {side_m} m do not suit the teacher, which takes multiples of {step_m} m{limit}; use"
                f" {wanted}."
            )

    @torch.no_grad()
    def tokens(self, groups: Mapping[int, Tensor], sensor: Sensor) -> tuple[Tensor, Tensor]:
        """Return its tokens at the student's places ``(B, T, D)`` float32, and where it read anything ``(B, T)``."""
        gsd, group = next(iter(groups.items()))
        self.encoder.to(group.device)
        with torch.autocast(group.device.type, enabled=False):
            said = self.encoder.forward_features(groups, sensor).float()
            read = self.encoder.samples(groups, sensor)[1].any(-1)
        wanted = group.shape[-2] * gsd // self.token_m, group.shape[-1] * gsd // self.token_m
        return area_pooled(said, read, self.encoder.grid(groups), wanted)

    def flops(self, sensor: Sensor, side_px: int) -> float:
        """Return the FLOPs of what it says of one sample, by torch's counter; shapes are followed, nothing computed.

        Args:
            sensor: whose sample.
            side_px: its side in pixels of 10 m.
        """
        sides = {group.gsd_m: side_px * 10 // group.gsd_m for group in sensor.groups}
        with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter, torch.no_grad():
            groups = {
                group.gsd_m: torch.zeros(1, len(group.bands), sides[group.gsd_m], sides[group.gsd_m], dtype=torch.int32)
                for group in sensor.groups
            }
            with sdpa_kernel(SDPBackend.MATH):  # the counter does not know the fused kernel of a CPU
                self.encoder.forward_features(groups, sensor)
        return float(counter.get_total_flops())


def area_pooled(tokens: Tensor, read: Tensor, given: tuple[int, int], wanted: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Bring tokens on one grid to another grid of the same ground, each the mean by area of those under it.

    Args:
        tokens: ``(B, rows * columns, D)``, row by row.
        read: ``(B, rows * columns)`` bool; others do not count.
        given: rows and columns.
        wanted: rows and columns.

    Returns:
        ``(B, T, D)``, 0 where nothing under a token was read, and ``(B, T)`` bool.
    """
    weight = read[..., None].to(tokens.dtype)
    stacked = torch.cat([tokens * weight, weight], dim=-1).unflatten(1, given)
    down, across = (torch.from_numpy(area_overlap(w, g)).to(tokens) for w, g in zip(wanted, given, strict=True))
    pooled = torch.einsum("yr,brcd,xc->byxd", down, stacked, across).flatten(1, 2)
    share = pooled[..., -1:]
    there = share > 1e-6
    return torch.where(there, pooled[..., :-1] / share.clamp(min=1e-6), 0.0), there[..., 0]


@cache
def read_teacher(folder: Path, token_m: int) -> Teacher:
    """Read a teacher from a public encoder's folder, a checkpoint or a run, once a process.

    Raises:
        CheckpointError: the folder holds none.
    """
    place = checkpoint_folder(folder)
    levels = None
    with torch.device("cpu"):  # also where a model is built without memory, to count its parameters
        encoder = load_encoder(place)
    if not is_public(place):
        record = read_record(place)
        sensors = record.get("sensors") or ([record["sensor"]] if "sensor" in record else [])
        levels = frozenset(Sensor.from_dict(sensor).reflectance for sensor in sensors) or None
    return Teacher(encoder, token_m, levels)
