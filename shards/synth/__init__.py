"""A generator of physically plausible 13-band Sentinel-2 L1C scenes with land-cover labels; see docs/shard-format.md.

Frozen: the same size, seed and acquisition give the same scene for as long as :data:`VERSION` stands.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.errors import SceneError
from bandloom.rasters.values import reflectance_to_dn
from bandloom.shards.synth import surroundings
from bandloom.shards.synth.ground import draw_ground
from bandloom.shards.synth.ground import label_set as land_cover
from bandloom.shards.synth.light import CLOUD_THRESHOLD, SENSOR, Sky, draw_sky, image, measure, shading
from bandloom.shards.synth.matter import abundances

__all__ = ["GROUNDS", "SENSOR", "VERSION", "GroundKind", "SyntheticScene", "ground_kind", "label_set", "synthesise"]

VERSION = 1
GroundKind = Literal["land-cover", "surroundings"]
GROUNDS: tuple[GroundKind, ...] = ("land-cover", "surroundings")
_SURROUNDINGS = 2  # of the seeds of that kind of ground; the other kind's is VERSION
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class SyntheticScene:
    """One scene: native band groups ``{gsd_m: (C, H_g, W_g)}`` uint16 DN, label codes and cloud mask at 10 m."""

    groups: dict[int, np.ndarray]
    label: np.ndarray  # (H, W) uint8 codes of label_set()
    cloud: np.ndarray  # (H, W) bool


def ground_kind(name: str) -> GroundKind:
    """Return the kind of ground of this name.

    Raises:
        SceneError: there is none.
    """
    for kind in GROUNDS:
        if kind == name:
            return kind
    raise SceneError(f"the ground {name!r} is not known; use one of {', '.join(GROUNDS)}.")


def label_set(ground: GroundKind = "land-cover") -> LabelSet:
    """Return the classes of a kind of ground."""
    return surroundings.label_set() if ground_kind(ground) == "surroundings" else land_cover()


def synthesise(
    size_px: int, seed: int, *, acquisition: int = 0, cloud_fraction: float = 0.02, ground: GroundKind = "land-cover"
) -> SyntheticScene:
    """Make the scene of ``seed``: a square of ``size_px`` pixels of 10 m, as Sentinel-2 would see it.

    Args:
        size_px: side at 10 m, a multiple of 6 (60 m), at least 48.
        seed: the place; neighbouring seeds alternate between cold and warm climates.
        acquisition: another number is the same ground on another day: other sun, air, clouds, noise and crop stages.
        cloud_fraction: share of the scene under cloud, 0 to 0.9.
        ground: ``land-cover``, or ``surroundings``, whose classes differ by what lies a few hundred metres around them.

    Raises:
        SceneError: the size is no multiple of 6, the cloud fraction no fraction, or the kind of ground not known.
    """
    if size_px % 6 or size_px < 48:
        raise SceneError(f"a synthetic scene of {size_px} pixels cannot be made; use a multiple of 6, at least 48.")
    if not 0 <= cloud_fraction <= 0.9:
        raise SceneError(f"a cloud fraction of {cloud_fraction} cannot be drawn; use 0 to 0.9.")
    warmth = 2 * ((seed * _GOLDEN) % 1.0) - 1
    if ground_kind(ground) == "surroundings":
        return _surroundings(size_px, seed, acquisition, cloud_fraction, warm=warmth > 0)
    place = draw_ground(np.random.default_rng([VERSION, seed, 0]), size_px, warmth)
    day = np.random.default_rng([VERSION, seed, 1 + acquisition])
    sky = draw_sky(day, size_px, cloud_fraction)
    return _scene(measure(day, place, sky), place.label, sky)


def _surroundings(size_px: int, seed: int, acquisition: int, cloud_fraction: float, *, warm: bool) -> SyntheticScene:
    """Make a scene of the second kind, whose sensor, sharpness and noise vary from day to day as its air does."""
    day = np.random.default_rng([_SURROUNDINGS, seed, 1 + acquisition])
    winter = bool(day.random() < 0.5)
    rng = np.random.default_rng([_SURROUNDINGS, seed, 0])
    place = surroundings.draw_surroundings(rng, size_px, warm=warm, winter=winter)
    sky = draw_sky(day, size_px, cloud_fraction)
    gains = np.exp(day.normal(0, 0.03, 13)).astype(np.float32)
    sky = replace(sky, tint=sky.tint * gains, psf_sigma_px=day.uniform(0.5, 0.9), noise=day.uniform(0.7, 2.0))
    shade = shading(place.ground, place.ground.label == surroundings.WATER, sky)
    return _scene(image(day, abundances(place), shade, sky), place.label, sky)


def _scene(reflectance: dict[int, np.ndarray], label: np.ndarray, sky: Sky) -> SyntheticScene:
    groups = {gsd_m: reflectance_to_dn(toa) for gsd_m, toa in reflectance.items()}
    return SyntheticScene(groups, label, sky.opacity > CLOUD_THRESHOLD)
