"""A small PASTIS: arrays of several dates, -10000 for absent, void pixels, folds, dates as a dict or as its text."""

import json
from pathlib import Path

import numpy as np

from tests.finetune.public_sets.replicas.writing import pixels

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
DAYS = (20180917, 20180924, 20181002, 20181017)


def write(root: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return stored values ``(T, 10, 128, 128)`` and codes by patch; patch 10000 + fold lies in that fold."""
    rng, truth, features = np.random.default_rng(0), {}, []
    for folder in ("DATA_S2", "ANNOTATIONS"):
        (root / folder).mkdir(parents=True)
    for fold in range(1, 6):
        patch, dates = 10_000 + fold, 3 + fold % 2
        stack = np.stack([pixels(rng, BANDS, 128).astype(np.int16) for _ in range(dates)])
        stack[0, :, :9, :9] = -10_000
        stack[:, :, 20, 20] = -10_000
        stack[1, :, 30:40] += 4000  # a cloud
        target = np.stack([rng.integers(0, 20, (128, 128)), np.zeros((128, 128)), np.zeros((128, 128))]).astype(
            np.uint8
        )
        np.save(root / "DATA_S2" / f"S2_{patch}.npy", stack)
        np.save(root / "ANNOTATIONS" / f"TARGET_{patch}.npy", target)
        days = {str(i): day for i, day in enumerate(DAYS[:dates])}
        told = {"ID_PATCH": patch, "Fold": fold, "dates-S2": str(days) if fold == 2 else days}
        box = [[[600_000, 6_800_000], [601_280, 6_800_000], [600_000, 6_800_000]]]  # Lambert-93
        features.append({"properties": told, "geometry": {"type": "Polygon", "coordinates": box}})
        truth[patch] = stack, target[0]
    (root / "metadata.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return truth
