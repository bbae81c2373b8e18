"""Synthetic ground: a land-cover map, and the materials of every pixel.

Some classes differ only beyond the visible (mangrove from trees, wetland from grass: red edge and short-wave infrared);
some share their matter and differ only by arrangement (orchard rows from shrubland, fallow parcels from bare ground,
street grids, rivers from lakes): those need the pixels around.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from bandloom.classes.label_set import LabelSet
from bandloom.shards.synth.fields import Parcels, draw_parcels, draw_rivers, gaussian_field


@cache
def spectra() -> dict[str, Any]:
    """Return the table of spectra.yaml."""
    return yaml.safe_load(files("bandloom.shards.synth").joinpath("spectra.yaml").read_text())


def label_set() -> LabelSet:
    """Return the twelve classes of the generator's maps."""
    return LabelSet.from_dict(spectra()["labels"])


@dataclass(frozen=True)
class Ground:
    """What lies on the ground, whatever the day: classes, heights, and the fields that vary each class's matter."""

    label: np.ndarray  # (H, W) uint8 codes of the label set
    height: np.ndarray  # (H, W) float32, unit variance
    textures: np.ndarray  # (3, H, W) float32, coarse to fine, unit variance
    parcels: Parcels
    crop_phase: np.ndarray  # (4096,) float32 in 0..1: when in the year each parcel is green
    row_period_px: float
    street_period_px: float


Arrangement = Callable[[Ground, np.ndarray, int, float], np.ndarray]


def draw_ground(rng: np.random.Generator, size_px: int, warmth: float) -> Ground:
    """Draw a place; ``warmth`` (-1 cold .. 1 warm) decides between snow, wetland and mangrove."""
    height, moist = gaussian_field(rng, size_px, 3.2), gaussian_field(rng, size_px, 2.6)
    people = gaussian_field(rng, size_px, 3.0)
    parcels = draw_parcels(rng, size_px, rng.uniform(12, 34))
    rivers = draw_rivers(rng, size_px, rng.uniform(1.2, 2.6))
    label = _map(height, moist, people, parcels, rivers, warmth)
    textures = np.stack([gaussian_field(rng, size_px, beta) for beta in (2.6, 2.3, 1.6)])
    phase = rng.random(4096, dtype=np.float32)
    return Ground(label, height, textures, parcels, phase, rng.uniform(2.6, 4.0), rng.uniform(6.0, 11.0))


def _map(
    height: np.ndarray, moist: np.ndarray, people: np.ndarray, parcels: Parcels, rivers: np.ndarray, warmth: float
) -> np.ndarray:
    """Write the classes over each other, wild first, then farmed and built, then wet and frozen."""
    label = np.full(height.shape, 30, np.uint8)
    label[moist > 0.35] = 10
    label[(moist < -0.1) & (height > 0)] = 20
    label[moist < -0.9] = 60
    plain = np.abs(height) < 0.8
    farmed = plain & (people > -0.6) & (parcels.number % 5 != 0)
    label[farmed] = 40
    label[farmed & (parcels.number % 3 == 1)] = 45
    label[plain & (people > 1.0)] = 50
    label[parcels.edge & (parcels.number % 6 == 0) & np.isin(label, (40, 45))] = 50  # country roads
    label[height < -1.1] = 95 if warmth > 0.2 else 90
    label[height < -1.4] = 80
    label[rivers & (height < 1.2)] = 85
    if warmth < 0.2:
        label[height > 1.5 + 0.6 * warmth] = 70
    return label


def abundances(ground: Ground, season: float) -> np.ndarray:
    """Say what every pixel is made of on a day of the year, ``(E, H, W)`` float32 summing to one over endmembers."""
    return abundances_of(ground, season, _MATTER, _SHARES)


def abundances_of(
    ground: Ground, season: float, matter: Mapping[int, tuple[str, ...]], shares_of: Mapping[int, Arrangement]
) -> np.ndarray:
    """Say what every pixel is made of, by tables of endmembers and of their arrangement by code of ``ground.label``."""
    names = list(spectra()["endmembers_x1000"])
    out = np.zeros((len(names), *ground.label.shape), np.float32)
    for code, parts in matter.items():
        where = ground.label == code
        if not where.any():
            continue
        shares = shares_of.get(code, blotchy)(ground, where, len(parts), season)
        shares /= shares.sum(0)
        for name, share in zip(parts, shares, strict=True):
            out[names.index(name)][where] = share
    return out


_MATTER: dict[int, tuple[str, ...]] = {
    10: ("tree_broad", "tree_conifer"),
    20: ("tree_broad", "soil_dry", "grass_dry"),
    30: ("grass", "grass_dry"),
    40: ("crop_green", "crop_sparse", "soil_dry", "soil_wet"),
    45: ("tree_broad", "soil_dry", "grass_dry"),
    50: ("asphalt", "roof_tile", "concrete", "grass", "soil_dry"),
    60: ("soil_dry", "soil_wet", "grass_dry"),
    70: ("snow",),
    80: ("water_clear", "water_turbid"),
    85: ("water_clear", "water_turbid"),
    90: ("reed", "grass", "water_turbid"),
    95: ("mangrove", "water_turbid"),
}


def blotchy(ground: Ground, where: np.ndarray, count: int, season: float) -> np.ndarray:
    """Mix by smooth random fields, the first endmember most, each next one e^-0.6 times as much."""
    one, two, three = (texture[where] for texture in ground.textures)
    fields = (one, two, three, -one)[:count]
    return np.stack([np.exp(np.float32(0.7) * field - np.float32(0.6 * k)) for k, field in enumerate(fields)])


def _wet(ground: Ground, where: np.ndarray, count: int, season: float) -> np.ndarray:
    return blotchy(ground, where, count, season) * np.exp(-np.arange(count, dtype=np.float32))[:, None]


def _canopy(cover: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Trees over dry soil and grass: shrubland and orchard share this, and their mean cover."""
    dry = (1 - cover) / (1 + np.exp(texture))
    return np.stack([cover, dry, 1 - cover - dry])


def scattered(ground: Ground, where: np.ndarray, count: int, season: float) -> np.ndarray:
    """Scatter trees over dry soil and grass."""
    one, two, three = (texture[where] for texture in ground.textures)
    cover = np.clip(0.42 + 0.08 * one + 0.30 * np.tanh(three + 0.5 * two), 0.02, 0.95)
    return _canopy(cover, two)


def _rows(ground: Ground, where: np.ndarray, count: int, season: float) -> np.ndarray:
    """Rows of trees, their period and direction the parcels' own."""
    one, two = ground.textures[0][where], ground.textures[1][where]
    wave = np.sin(2 * np.pi / ground.row_period_px * ground.parcels.across_px[where])
    return _canopy(np.clip(0.42 + 0.08 * one + 0.36 * wave, 0.02, 0.95), two)


def _parcelled(ground: Ground, where: np.ndarray, count: int, season: float) -> np.ndarray:
    """Crops by the parcel's own calendar: green, sparse, bare and dry, bare and wet."""
    stage = (ground.crop_phase[ground.parcels.number[where]] + np.float32(season)) % 1.0
    centres = np.array([0.125, 0.375, 0.625, 0.875], np.float32)[:, None]
    away = np.abs((stage - centres + 0.5) % 1.0 - 0.5)
    return np.exp(-((away / np.float32(0.13)) ** 2)) + 0.03 * np.exp(0.7 * ground.textures[1][where])


def streets(ground: Ground, where: np.ndarray, count: int, season: float) -> np.ndarray:
    """A street grid of asphalt around blocks of roofs, yards and gardens, block by block."""
    y, x = (axis.astype(np.float32) for axis in np.nonzero(where))
    angle = np.float32(0.7 * ground.row_period_px)
    u = (x * np.cos(angle) + y * np.sin(angle)) / np.float32(ground.street_period_px)
    v = (y * np.cos(angle) - x * np.sin(angle)) / np.float32(0.7 * ground.street_period_px)
    street = (u % 1.0 < 0.16) | (v % 1.0 < 0.2)
    block = (np.floor(u).astype(np.int64) * 7919 ^ np.floor(v).astype(np.int64) * 104729) % 4096
    kind = ground.crop_phase[block]
    three = ground.textures[2][where]
    roof, concrete = np.exp(0.9 * three), np.exp(-0.9 * three) * (0.2 + kind)
    shares = np.stack([0.3 + 0 * kind, roof, concrete, 0.2 + 1.6 * (1 - kind), 0.8 * kind])
    shares[:, street] = np.array([1.0, 0.04, 0.1, 0.05, 0.05], np.float32)[:, None]
    return shares.astype(np.float32)


_SHARES = {20: scattered, 40: _parcelled, 45: _rows, 50: streets, 80: _wet, 85: _wet, 90: _wet, 95: _wet}
