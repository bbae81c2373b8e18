"""A small So2Sat LCZ42: float64, channels last, one-hot labels, in the layouts of version 2 and 3."""

from pathlib import Path

import numpy as np
import pytest

from tests.finetune.public_sets.replicas.writing import pixels

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def write_file(path: Path, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Write one file; return reflectance ``(N, 10, 32, 32)`` and classes."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(seed)
    chips = np.stack([pixels(rng, BANDS, 32) / 10000 for _ in range(count)])
    classes = rng.permutation(17)[:count]
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["sen1"] = rng.normal(size=(count, 32, 32, 8))
        file["sen2"] = np.moveaxis(chips, 1, -1)
        file["label"] = np.eye(17)[classes]
    return chips, classes


def write_v2(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    files = {"training": 4, "validation": 2, "testing": 3}
    return {name: write_file(root / f"{name}.h5", count, i) for i, (name, count) in enumerate(files.items())}


def write_v3(root: Path) -> None:
    for i, folder in enumerate(("random", "block")):
        write_file(root / folder / "training.h5", 8, 10 + i)
        write_file(root / folder / "testing.h5", 2, 20 + i)
