"""A Sentinel-2 L1C granule for the build benchmarks: synthetic ground, ESA's tile sizes, JP2 in the real layout."""

from pathlib import Path

import numpy as np

from bandloom.shards.synth import SENSOR, synthesise
from tests.shards.safe_product import seal, write_quality, write_safe

SIDE_PX = 10980  # of a whole granule at 10 m
TILES_PX = {10: 1024, 20: 640, 60: 192}
_SCENE_PX = 480
_NOISE = 12.0  # DN, so that no two copies of the ground are alike


def write_granule(folder: Path, side_px: int) -> Path:
    """Write a product of ``side_px`` pixels of 10 m, a multiple of 6; return its folder."""
    scene, rng, native = synthesise(_SCENE_PX, 0), np.random.default_rng(0), {}
    for group in SENSOR.groups:
        side = side_px * 10 // group.gsd_m
        copies = -(-side // scene.groups[group.gsd_m].shape[1])
        for band, pixels in zip(group.bands, scene.groups[group.gsd_m], strict=True):
            whole = np.tile(pixels, (copies, copies))[:side, :side]
            noise = rng.normal(0, _NOISE, whole.shape).astype(np.float32)
            native[band.name] = np.clip(whole + noise, 1, 32767).astype(np.uint16)
    root = write_safe(folder, native, blocks_px=TILES_PX)
    for band in SENSOR.bands:  # nothing is marked in them, as in most products
        gsd_m = band.stored_gsd_m
        write_quality(root, band.name, native[band.name].shape, gsd_m, block_px=TILES_PX[gsd_m])
    seal(root)
    return root
