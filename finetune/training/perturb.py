"""Sensor perturbations on the device, keyed by sample: light, noise, lost bands, mixed chips.

They act on reflectance before it is normalised, and nothing clamps: a value that would leave the range that digital
numbers can hold stays as it was measured. Absent samples stay absent.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.device_memory import to_device
from bandloom.finetune.config import PerturbConfig
from bandloom.sensors import BandGroup, Sensor
from bandloom.training.device_batch import DeviceBatch, rng_of, uniforms
from bandloom.values import NODATA, OFFSET, SATURATED, SCALE

_LIGHT, _BANDS, _MIX, _NOISE = 102, 103, 104, 1000  # purposes of a sample's draws; noise adds the group's gsd_m
OTHER_SENSORS = ("L2A-12", "Landsat", "10m", "RGB")
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


Mixed = tuple[DeviceBatch, list[tuple[Tensor, float]]]


def mix(batch: DeviceBatch, target: Tensor, config: PerturbConfig) -> Mixed:
    """Mix each chip with its opposite in the batch; returns what is seen, and targets with their weights.

    Mixup (Zhang et al. 2018) averages reflectance and weighs both targets; cutmix (Yun et al. 2019) pastes a square of
    the other chip, its mask with it, or weighs the targets of whole chips by area.

    Args:
        batch: of at least two chips, or it stays as it is.
        target: class indices ``(B,)`` or ``(B, H, W)``, or noughts and ones ``(B, K)``.
        config: which way, and how often.
    """
    rng = rng_of(batch.draws[0], _MIX) if len(batch.draws) else np.random.default_rng(0)
    if config.mix == "none" or len(batch.draws) < 2 or rng.random() >= config.mix_share:
        return batch, [(target, 1.0)]
    return (_mixup if config.mix == "mixup" else _cutmix)(batch, target, rng)


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
        scale, add = (to_device(each[:, own, None, None], dn.device) for each in (factor, shift))
        reflectance = (dn - OFFSET) / SCALE * scale + add
        if config.noise:
            reflectance = reflectance + config.noise * _noise(draws, gsd, dn)
        found = reflectance * SCALE + OFFSET
        moved[gsd] = torch.where(_valid(dn) & _valid(found), found, dn)
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


def _mixup(batch: DeviceBatch, target: Tensor, rng: np.random.Generator) -> Mixed:
    share = float(rng.beta(0.8, 0.8))  # MAE's fine-tuning recipe
    groups = {}
    for gsd, group in batch.groups.items():
        one, two = group.float(), group.float().flip(0)
        both = _valid(one) & _valid(two)
        groups[gsd] = torch.where(both, share * one + (1 - share) * two, float(NODATA))
    return replace(batch, groups=groups), [(target, share), (_flip(target), 1 - share)]


def _cutmix(batch: DeviceBatch, target: Tensor, rng: np.random.Generator) -> Mixed:
    gsd, first = next(iter(batch.groups.items()))
    cells = first.shape[-1] * gsd // GRID_M
    side = int(np.clip(round(cells * np.sqrt(1 - rng.uniform())), 1, max(1, cells - 1)))
    top, left = (int(rng.integers(cells - side + 1)) for _ in range(2))
    groups = {}
    for gsd, group in batch.groups.items():
        scale = GRID_M // gsd
        groups[gsd] = _pasted(group.float(), top * scale, left * scale, side * scale)
    if target.ndim == 3:
        scale = GRID_M // 10
        return replace(batch, groups=groups), [(_pasted(target, top * scale, left * scale, side * scale), 1.0)]
    share = side**2 / cells**2
    return replace(batch, groups=groups), [(target, 1 - share), (_flip(target), share)]


def _pasted(pixels: Tensor, top: int, left: int, side: int) -> Tensor:
    pasted = pixels.clone()
    square = (..., slice(top, top + side), slice(left, left + side))
    pasted[square] = _flip(pixels)[square]
    return pasted


def _flip(target: Tensor) -> Tensor:
    return target.flip(0)


def _valid(dn: Tensor) -> Tensor:
    return (dn > NODATA) & (dn < SATURATED)
