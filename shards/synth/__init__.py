"""A generator of physically plausible 13-band Sentinel-2 L1C scenes with land-cover labels; see docs/shard-format.md.

Frozen: the same size, seed and acquisition give the same scene for as long as :data:`VERSION` stands.
"""

from dataclasses import dataclass

import numpy as np

from bandloom.errors import SceneError
from bandloom.shards.synth.ground import draw_ground, label_set
from bandloom.shards.synth.light import CLOUD_THRESHOLD, SENSOR, draw_sky, measure
from bandloom.values import reflectance_to_dn

__all__ = ["SENSOR", "VERSION", "SyntheticScene", "label_set", "synthesise"]

VERSION = 1
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class SyntheticScene:
    """One scene: native band groups ``{gsd_m: (C, H_g, W_g)}`` uint16 DN, label codes and cloud mask at 10 m."""

    groups: dict[int, np.ndarray]
    label: np.ndarray  # (H, W) uint8 codes of label_set()
    cloud: np.ndarray  # (H, W) bool


def synthesise(size_px: int, seed: int, *, acquisition: int = 0, cloud_fraction: float = 0.02) -> SyntheticScene:
    """Make the scene of ``seed``: a square of ``size_px`` pixels of 10 m, as Sentinel-2 would see it.

    Args:
        size_px: side at 10 m, a multiple of 6 (60 m), at least 48.
        seed: the place; neighbouring seeds alternate between cold and warm climates.
        acquisition: another number is the same ground on another day: other sun, air, clouds, noise and crop stages.
        cloud_fraction: share of the scene under cloud, 0 to 0.9.

    Raises:
        SceneError: the size is no multiple of 6 or the cloud fraction no fraction.
    """
    if size_px % 6 or size_px < 48:
        raise SceneError(f"a synthetic scene of {size_px} pixels cannot be made; use a multiple of 6, at least 48.")
    if not 0 <= cloud_fraction <= 0.9:
        raise SceneError(f"a cloud fraction of {cloud_fraction} cannot be drawn; use 0 to 0.9.")
    ground = draw_ground(np.random.default_rng([VERSION, seed, 0]), size_px, warmth=2 * ((seed * _GOLDEN) % 1.0) - 1)
    day = np.random.default_rng([VERSION, seed, 1 + acquisition])
    sky = draw_sky(day, size_px, cloud_fraction)
    groups = {gsd_m: reflectance_to_dn(toa) for gsd_m, toa in measure(day, ground, sky).items()}
    return SyntheticScene(groups, ground.label, sky.opacity > CLOUD_THRESHOLD)
