"""Held-out chips on which models are compared before a bundle is written, and int8 is calibrated."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.command_line.console import logger
from bandloom.draws.evenly import evenly
from bandloom.errors import BandloomError
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.bundle.record import Contract
from bandloom.rasters.values import NODATA, SATURATED, reflectance_to_dn

if TYPE_CHECKING:
    from bandloom.shards.read.shard_set import ShardSet

HELD = 32  # windows that every precision of a map's model is measured on
HELD_CHIPS = 256  # of a model with one answer a chip: its score may fall by half a point, so one chip must be less
CALIBRATION = 32  # chips whose ranges int8 takes over; of other ground than the held ones where there is other ground
BATCH = 4  # chips that run at once: memory grows with it, and no number changes
HELD_ROLES = ("test", "val", "train")  # where chips are looked for, first to last
CALIBRATION_ROLES = ("train", "val", "test")
FEWEST_KNOWN = 0.25  # share of a window that must be labelled, where there are such windows


@dataclass(frozen=True)
class Chips:
    """Native groups ``{gsd_m: (B, C, H, W)}`` uint16, what is known of them, and their origin.

    Labels are class indices ``(B, H, W)`` or ``(B,)``, or noughts and ones ``(B, K)`` where there may be several.
    """

    groups: Groups
    source: str
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.groups.values())))

    def batches(self, size: int = BATCH) -> Iterator[Groups]:
        """Yield the groups a few chips at a time."""
        for begin in range(0, len(self), size):
            yield {gsd_m: dn[begin : begin + size] for gsd_m, dn in self.groups.items()}


@dataclass(frozen=True)
class Ground:
    """Where chips come from: shards, and the config of the run that a model was trained by, where they are known."""

    shards: Path | None = None
    config: Mapping[str, Any] | None = None


def held_chips(contract: Contract, ground: Ground, count: int | None = None, *, part_px: int | None = None) -> Chips:
    """Return chips of the ground that the model was not trained on, with labels where there are some.

    Without the run's config chips have no labels; without shards they are drawn from the training statistics. One chip
    always has a hole and a saturated spot, so that the parity of absent samples is measured too.

    Args:
        contract: what the numbers of the model mean.
        ground: where chips come from.
        count: how many chips, of ``part_px`` where it is given.
        part_px: side of the chips that the model was trained on, which are laid side by side to tiles.
    """
    wanted = count or (HELD if contract.makes_map else HELD_CHIPS)
    part = _of_side(contract, part_px)
    chips = _labelled(part, ground, HELD_ROLES, wanted) or _unlabelled(part, ground, HELD_ROLES, wanted)
    return _with_absent_samples(_laid_out(chips or _drawn(part, wanted, seed=0), contract.tile_px // part.tile_px))


def calibration_chips(
    contract: Contract, ground: Ground, count: int = CALIBRATION, *, part_px: int | None = None
) -> Chips:
    """Return the chips whose ranges int8 takes over: of the training part, so that the held ones stay a test."""
    part = _of_side(contract, part_px)
    chips = _labelled(part, ground, CALIBRATION_ROLES, count) or _unlabelled(part, ground, CALIBRATION_ROLES, count)
    return _laid_out(chips or _drawn(part, count, seed=1), contract.tile_px // part.tile_px)


def _of_side(contract: Contract, side_px: int | None) -> Contract:
    return contract if side_px is None else contract.model_copy(update={"tile_px": side_px})


def _laid_out(chips: Chips, side: int) -> Chips:
    """Lay chips out to squares of ``side * side``, the first ones again where the last square wants more."""
    if side == 1:
        return chips
    tiles = -(-len(chips) // side**2)
    order = np.arange(tiles * side**2) % len(chips)

    def laid(pixels: np.ndarray) -> np.ndarray:  # (B, ..., h, w) to (tiles, ..., side * h, side * w)
        *lead, h, w = pixels.shape[1:]
        parts = pixels[order].reshape(tiles, side, side, *lead, h, w)
        return np.moveaxis(parts, (1, 2), (-4, -2)).reshape(tiles, *lead, side * h, side * w)

    labels = None if chips.labels is None else laid(chips.labels)
    return Chips({gsd_m: laid(dn) for gsd_m, dn in chips.groups.items()}, chips.source, labels)


def chips_of_roles(contract: Contract, ground: Ground, roles: Sequence[str], count: int) -> Chips | None:
    """Return chips of the first of these parts that has some, with labels where the run's config is known, or None."""
    return _labelled(contract, ground, roles, count) or _unlabelled(contract, ground, roles, count, strict=True)


def _labelled(contract: Contract, ground: Ground, roles: Sequence[str], count: int) -> Chips | None:
    """Return chips as the run itself reads them: its split, its bands, its dates, its classes."""
    from bandloom.finetune.config import FinetuneConfig
    from bandloom.finetune.data.splits import ROLES
    from bandloom.finetune.experiment import open_data

    if ground.shards is None or not ground.config:
        return None
    try:
        data = open_data(FinetuneConfig(**{**ground.config, "shards": ground.shards}))
    except (BandloomError, ValueError) as cause:
        logger.warning("chips have no labels: %s", cause)
        return None
    if data.label_set.to_dict() != contract.label_set or data.sensor.to_dict() != contract.sensor:
        logger.warning("chips have no labels: those of %s are of other classes or bands", ground.shards)
        return None
    order = np.random.default_rng(0).permutation(data.indices).tolist()
    for role in roles:
        chips = []
        for index in order:
            sample = data.labelled(index, ROLES.index(role))
            chips += [] if sample is None else _windows(contract, sample.groups, sample.label)
            if len(chips) >= count:
                break
        if chips:
            source = f"{ground.shards.name}, {role} part of the run's split"
            groups = {g.gsd_m: np.stack([chip[g.gsd_m] for chip, _ in chips[:count]]) for g in contract.groups}
            return Chips(groups, source, np.stack([label for _, label in chips[:count]]))
    return None


def _windows(
    contract: Contract, groups: Mapping[int, np.ndarray], label: np.ndarray
) -> list[tuple[Groups, np.ndarray]]:
    """Cut a sample into tiles with labels; a sample of which all tiles know little gives the one that knows most."""
    side = contract.tile_px
    if not contract.makes_map:
        return [(_window(groups, 0, 0, side), label)]
    corners = [
        (y, x)
        for y in range(0, max(1, label.shape[0] - side + 1), side)
        for x in range(0, max(1, label.shape[1] - side + 1), side)
    ]
    cut = [(_window(groups, y, x, side), _corner(label[None, y:, x:], side, IGNORE_INDEX)[0]) for y, x in corners]
    known = [float((part != IGNORE_INDEX).mean()) for _, part in cut]
    enough = [chip for chip, share in zip(cut, known, strict=True) if share >= FEWEST_KNOWN]
    return enough or [cut[int(np.argmax(known))]]


def _unlabelled(
    contract: Contract, ground: Ground, roles: Sequence[str], count: int, *, strict: bool = False
) -> Chips | None:
    """Return chips of shards by the split that the shards were built with; unless ``strict`` of any part at last."""
    from bandloom.shards.read.shard_set import ShardSet

    if ground.shards is None or contract.dates > 1:
        return None
    sensor = contract.get_sensor()
    try:
        shards = ShardSet(ground.shards)
    except BandloomError as cause:
        logger.warning("chips are drawn from the statistics: %s", cause)
        return None
    for role in roles if strict else (*roles, None):
        rows = [int(i) for i in shards.indices(role) if shards.entries[int(i)].sensor == sensor.name]
        if rows:
            picked = [rows[i] for i in evenly(len(rows), count)]
            return _read(contract, shards, picked, f"{ground.shards.name}, {role or 'all'} split")
    if not strict:
        logger.warning("chips are drawn from the statistics: %s has none of %s", ground.shards, sensor.name)
    return None


def _read(contract: Contract, shards: "ShardSet", picked: list[int], source: str) -> Chips:
    from bandloom.finetune.data.own_bands import own_bands

    sensor = contract.get_sensor()
    stored = shards.sensors[sensor.name]
    samples = [own_bands(shards.read(index).groups, stored, sensor) for index in picked]
    windows = [_window(dict(groups), 0, 0, contract.tile_px) for groups in samples]
    return Chips({g.gsd_m: np.stack([window[g.gsd_m] for window in windows]) for g in contract.groups}, source)


def _window(groups: Mapping[int, np.ndarray], y_px: int, x_px: int, side_px: int) -> Groups:
    """Cut a square at a 10 m pixel on the 60 m grid; what lies outside is absent."""
    return {g: _corner(dn[:, y_px * 10 // g :, x_px * 10 // g :], side_px * 10 // g) for g, dn in groups.items()}


def _corner(pixels: np.ndarray, side: int, fill: int = NODATA) -> np.ndarray:
    """Cut ``(C, H, W)`` to its upper-left ``side``, padding with absent samples."""
    cut = pixels[:, :side, :side]
    missing = ((0, 0), (0, side - cut.shape[1]), (0, side - cut.shape[2]))
    return np.pad(cut, missing, constant_values=fill)


def _drawn(contract: Contract, count: int, seed: int) -> Chips:
    """Draw samples around the training means: smooth over ground, so that neighbouring tokens differ little."""
    rng = np.random.default_rng(seed)
    side_m = contract.tile_px * 10
    groups = {}
    for group in contract.groups:
        side = side_m // group.gsd_m
        mean = np.array([contract.statistics["mean"][slot] for slot in group.slots])[:, None, None]
        std = np.array([contract.statistics["std"][slot] for slot in group.slots])[:, None, None]
        slow = rng.normal(size=(count, len(group.bands), 1 + side // 6, 1 + side // 6)).repeat(6, 2).repeat(6, 3)
        noise = slow[..., :side, :side] + rng.normal(size=(count, len(group.bands), side, side)) / 2
        groups[group.gsd_m] = reflectance_to_dn(mean + std * noise)
    return Chips(groups, "drawn from the training statistics")


def _with_absent_samples(chips: Chips) -> Chips:
    groups = {gsd_m: dn.copy() for gsd_m, dn in chips.groups.items()}
    for dn in groups.values():
        third = max(dn.shape[-1] // 3, 1)
        dn[-1, :, :third, :third] = NODATA
        dn[-1, 0, -third:, -third:] = SATURATED
    return Chips(groups, chips.source, chips.labels)
