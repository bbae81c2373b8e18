"""A small HLS Burn Scars: six bands of floats at 30 m, fill values, masks of -1, 0 and 1."""

from pathlib import Path

import numpy as np

from tests.finetune.public_sets.replicas.writing import LEVELS, write_tif

BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")
SCENES = {"training": ("T10TGS.2018285", "T11SKB.2019100", "T12TVK.2020200"), "validation": ("T13SBS.2021001",)}


def write(root: Path, side: int = 20) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return reflectances ``(6, H, W)`` with NaN where absent, and codes, by the part of the name that tells them."""
    rng, truth = np.random.default_rng(0), {}
    for folder, names in SCENES.items():
        for number, name in enumerate(names):
            stack = np.stack([rng.uniform(0.5, 1, (side, side)) * LEVELS[band] / 10000 for band in BANDS])
            stack = stack.astype(np.float32)
            stack[:, 0, :4] = -0.9999
            stack[:, 1, :4] = 0
            codes = rng.integers(-1, 2, (side, side)).astype(np.int16)
            stem = f"subsetted_512x512_HLS.S30.{name}.v1.4"
            told = {"pixel": 30.0, "corner": (5e5, 4e6 + 60_000 * number)}
            write_tif(root / folder / f"{stem}_merged.tif", stack, **told)
            write_tif(root / folder / f"{stem}.mask.tif", codes, **told)
            stack[:, :2, :4] = np.nan
            truth[name] = stack, codes
    return truth
