"""Sensor perturbations on the device, keyed by sample: light, noise, lost bands, mixed chips.

They act on reflectance before it is normalised, and nothing clamps: a value that would leave the range that digital
numbers can hold stays as it was measured. Absent samples stay absent.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.draws.sample_draws import rng_of, uniforms
from bandloom.finetune.config import PerturbConfig
from bandloom.rasters.values import NODATA, OFFSET, SATURATED, SCALE
from bandloom.sensors import BandGroup, Sensor
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.device_memory import to_device

_LIGHT, _BANDS, _MIX, _NOISE = 102, 103, 104, 1000  # purposes of a sample's draws; noise adds the group's gsd_m
OTHER_SENSORS = ("L2A-12", "Landsat", "10m", "RGB")
Pairs = dict[int, np.random.Generator]  # of chips to be mixed, by number
GRID_M = 60  # what is cut out and pasted lies on the 60 m grid, whole samples of every band


def perturb(batch: DeviceBatch, config: PerturbConfig) -> DeviceBatch:
    """Change light and noise, and take bands away, chip by chip; the same draw in any company."""
    light = config.gain or config.band_gain or config.offset or config.noise
    if not (light or config.drop_band or config.other_sensor):
        return batch
    groups = {gsd: group.float() for gsd, group in batch.groups.items()}
    if light:
        groups = _relit(groups, batch.draws, config)
    if config.drop_band or config.other_sensor:
        lost = lost_slots(batch.sensor, config, batch.draws)
        groups = {
            group.gsd_m: _without(groups[group.gsd_m], group, batch.sensor, lost) for group in batch.sensor.groups
        }
    return replace(batch, groups=groups)


def lost_slots(sensor: Sensor, config: PerturbConfig, draws: np.ndarray) -> np.ndarray:
    """Draw the slots that each chip loses, ``(B, C)`` bool in the order of the sensor's; some always stay."""
    return lost_of(uniforms(draws, _BANDS, 2 + len(sensor.slots)), sensor, config)


def lost_of(at: np.ndarray, sensor: Sensor, config: PerturbConfig) -> np.ndarray:
    """Return the slots lost ``(B, C)`` by uniform numbers ``(B, 2 + C)``."""
    others = np.array([[slot not in BAND_SUBSETS[name] for slot in sensor.slots] for name in OTHER_SENSORS])
    lost = at[:, 2:] < config.drop_band
    lost |= (at[:, :1] < config.other_sensor) & others[(at[:, 1] * len(others)).astype(int)]
    return lost & ~lost.all(1, keepdims=True)


@dataclass(frozen=True)
class Target:
    """Labels of some chips of a batch.

    Args:
        rows: which chips.
        labels: class indices ``(N,)`` or ``(N, H, W)``, values, or noughts and ones ``(N, K)``.
        weight: what they count in the loss.
    """

    rows: slice | Tensor
    labels: Tensor
    weight: float = 1.0


EVERY = slice(None)
Mixed = tuple[DeviceBatch, list[Target]]


def mix(batch: DeviceBatch, target: Tensor, config: PerturbConfig) -> Mixed:
    """Mix neighbours in the batch, pair by pair; returns what is seen, and targets with their weights.

    Mixup (Zhang et al. 2018) averages reflectance and weighs both targets; cutmix (Yun et al. 2019) pastes a square of
    the other chip, its mask with it, or weighs the targets of whole chips by area. What a pair draws is keyed by its
    first sample: however a step is cut into micro batches and ranks of whole pairs, it is the same step.

    Args:
        batch: the last chip of an odd number stays as it is.
        target: class indices ``(B,)`` or ``(B, H, W)``, or noughts and ones ``(B, K)``.
        config: which way, and how often.
    """
    rngs = [rng_of(draw, _MIX) for draw in batch.draws[: len(batch.draws) // 2 * 2 : 2]] if config.mix != "none" else []
    chosen = [pair for pair, rng in enumerate(rngs) if rng.random() < config.mix_share]
    if not chosen:
        return batch, [Target(EVERY, target)]
    return (_mixup if config.mix == "mixup" else _cutmix)(batch, target, {pair: rngs[pair] for pair in chosen})


def _relit(groups: dict[int, Tensor], draws: np.ndarray, config: PerturbConfig) -> dict[int, Tensor]:
    """Return digital numbers ``{gsd_m: (B, C, H, W)}`` under another light."""
    bands = sum(group.shape[1] for group in groups.values())
    at = 2 * uniforms(draws, _LIGHT, 1 + 2 * bands) - 1  # (B, 1 + 2 C) in -1..1
    factor = (1 + config.gain * at[:, :1]) * (1 + config.band_gain * at[:, 1 : 1 + bands])
    shift = config.offset * at[:, 1 + bands :]
    moved, first = {}, 0
    for gsd, dn in groups.items():
        own = slice(first, first + dn.shape[1])
        first = own.stop
        scale, add = (to_device(tensor[:, own, None, None], dn.device) for tensor in (factor, shift))
        reflectance = (dn - OFFSET) / SCALE * scale + add
        if config.noise:
            reflectance = reflectance + config.noise * _noise(draws, gsd, dn)
        values = reflectance * SCALE + OFFSET
        moved[gsd] = torch.where(_valid(dn) & _valid(values), values, dn)
    return moved


def _noise(draws: np.ndarray, gsd: int, like: Tensor) -> Tensor:
    """Return standard normal noise, each sample's own."""
    shape = tuple(like.shape[1:])
    rows = [rng_of(draw, _NOISE + gsd).standard_normal(shape, np.float32) for draw in draws]
    return to_device(np.stack(rows), like.device)


def _without(dn: Tensor, group: BandGroup, sensor: Sensor, lost: np.ndarray) -> Tensor:
    """Make each chip's lost slots of ``(B, C, H, W)`` absent, at every date that is stacked in it."""
    own = lost[:, [sensor.slots.index(slot) for slot in group.slots]]
    gone = np.tile(own, (1, dn.shape[1] // len(group.slots)))
    return torch.where(to_device(gone, dn.device)[:, :, None, None], float(NODATA), dn)


def _mixup(batch: DeviceBatch, target: Tensor, pairs: Pairs) -> Mixed:
    shares = {pair: float(rng.beta(0.8, 0.8)) for pair, rng in pairs.items()}  # MAE's fine-tuning recipe
    mixed, own, other = np.zeros(len(target), bool), np.ones(len(target), np.float32), np.arange(len(target))
    for pair, share in shares.items():
        mixed[2 * pair : 2 * pair + 2], own[2 * pair : 2 * pair + 2] = True, share
        other[2 * pair : 2 * pair + 2] = 2 * pair + 1, 2 * pair
    flag, weight = (to_device(tensor[:, None, None, None], target.device) for tensor in (mixed, own))
    partner, groups = to_device(other, target.device), {}
    for gsd, group in batch.groups.items():
        one, two = group.float(), group.float()[partner]
        both = torch.where(_valid(one) & _valid(two), weight * one + (1 - weight) * two, float(NODATA))
        groups[gsd] = torch.where(flag, both, one)
    return replace(batch, groups=groups), _weighted(target, shares)


def _cutmix(batch: DeviceBatch, target: Tensor, pairs: Pairs) -> Mixed:
    gsd, first = next(iter(batch.groups.items()))
    cells = first.shape[-1] * gsd // GRID_M
    squares = {pair: _square(cells, rng) for pair, rng in pairs.items()}
    groups = {gsd: _pasted(group.float(), squares, GRID_M // gsd) for gsd, group in batch.groups.items()}
    if target.ndim == 3:
        return replace(batch, groups=groups), [Target(EVERY, _pasted(target, squares, GRID_M // 10))]
    own = {pair: 1 - side**2 / cells**2 for pair, (_, _, side) in squares.items()}
    return replace(batch, groups=groups), _weighted(target, own)


def _square(cells: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw a square's top, left and side, on a grid of ``cells`` a side."""
    side = int(np.clip(round(cells * np.sqrt(1 - rng.uniform())), 1, max(1, cells - 1)))
    return int(rng.integers(cells - side + 1)), int(rng.integers(cells - side + 1)), side


def _pasted(pixels: Tensor, squares: dict[int, tuple[int, int, int]], scale: int) -> Tensor:
    """Give both chips of each pair the other's square."""
    pasted = pixels.clone()
    for pair, (top, left, side) in squares.items():
        own = (slice(2 * pair, 2 * pair + 2), ..., *(slice(at * scale, (at + side) * scale) for at in (top, left)))
        pasted[own] = pixels[own].flip(0)
    return pasted


def _weighted(target: Tensor, own: dict[int, float]) -> list[Target]:
    """Return targets of mixed pairs by what each chip is of its own, and those of all other chips as they are."""
    rest = np.array([row for row in range(len(target)) if row // 2 not in own], np.int64)
    targets = []
    if len(rest):
        rows = to_device(rest, target.device)
        targets.append(Target(rows, target[rows]))
    for pair, share in own.items():
        both = slice(2 * pair, 2 * pair + 2)
        targets += [Target(both, target[both], share), Target(both, target[both].flip(0), 1 - share)]
    return targets


def _valid(dn: Tensor) -> Tensor:
    return (dn > NODATA) & (dn < SATURATED)
