"""Synthetic change detection: two dates in different weather, with forests cleared and fields built over.

What is planted is known exactly, so that change detection can be tested; a difference of pixels alone does not find it,
since crops, sun, air and snow differ between the dates without any change of land cover.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from bandloom.files.output import new_output
from bandloom.rasters.values import reflectance_to_dn
from bandloom.shards.synth import SyntheticScene, label_set
from bandloom.shards.synth.fields import gaussian_field
from bandloom.shards.synth.ground import draw_ground
from bandloom.shards.synth.light import CLOUD_THRESHOLD, draw_sky, measure
from bandloom.shards.synth.write import write_scene

BECOMES = {10: 60, 20: 50, 30: 50, 40: 50, 45: 60, 60: 50, 90: 40, 95: 60}  # class codes before and after


def planted_pair(size_px: int, seed: int, share: float = 0.12) -> tuple[SyntheticScene, SyntheticScene]:
    """Return two dates of one place; of the land on the second, about ``share`` has another class.

    Args:
        size_px: side at 10 m, a multiple of 6.
        seed: the place.
        share: of the ground that is planted with change; water, snow and towns stay.
    """
    rng = np.random.default_rng([7, seed])
    before = draw_ground(rng, size_px, warmth=2 * ((seed * 0.618) % 1.0) - 1)
    field = gaussian_field(rng, size_px, 2.2)
    struck = field > np.quantile(field, 1 - share)
    label = before.label.copy()
    for old, new in BECOMES.items():
        label[struck & (before.label == old)] = new
    scenes = []
    for day, ground in enumerate((before, replace(before, label=label))):
        light = np.random.default_rng([7, seed, 1 + day])
        sky = draw_sky(light, size_px, 0.0)
        groups = {gsd_m: reflectance_to_dn(toa) for gsd_m, toa in measure(light, ground, sky).items()}
        scenes.append(SyntheticScene(groups, ground.label, sky.opacity > CLOUD_THRESHOLD))
    return scenes[0], scenes[1]


def write_pairs(out: Path, places: int, size_px: int, seed: int = 0) -> None:
    """Write both dates of every place as scenes with labels, as :func:`bandloom.shards.synth.write.write_scenes` does.

    Raises:
        OutputError: ``out`` exists.
    """
    with new_output(out, folder=True) as folder:
        (folder / "labels").mkdir()
        (folder / "label_set.yaml").write_text(yaml.safe_dump(label_set().to_dict(), sort_keys=False))
        for place in range(seed, seed + places):
            for day, scene in enumerate(planted_pair(size_px, place)):
                write_scene(folder, f"scene_{place:05d}_day{day}", scene, place, day)
