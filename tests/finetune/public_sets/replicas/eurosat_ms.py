"""A small EuroSAT-MS: class folders, B8A last, pixels of 10.0057 x 9.9941 m, lists of names that end in .jpg."""

import zipfile
from pathlib import Path

import numpy as np

from tests.finetune.public_sets.replicas.writing import pixels, write_tif

ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
CLASSES = ("AnnualCrop", "Forest", "SeaLake")
NESTED = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"


def write(root: Path, count: int = 4, *, side: int = 64, seed: int = 0) -> dict[str, np.ndarray]:
    """Write the chips and both splits; return every chip's stored values ``(13, side, side)`` by name.

    Roles go round by number under ``random`` and the other way round under ``spatial``; the last chip of every class
    has a corner of zeros, one chip is in no list, and one that is listed is not there.
    """
    rng, truth = np.random.default_rng(seed), {}
    for place, name in enumerate(CLASSES):
        for number in range(1, count + 1):
            chip = pixels(rng, ORDER, side)
            if number == count:
                chip[:, :7, :5] = 0
            truth[f"{name}_{number}"] = chip
            corner = (500_000.0 + 700 * number, 5_000_000.0 + 90_000 * place)
            zone = "EPSG:32633" if place else "EPSG:32632"
            write_tif(root / name / f"{name}_{number}.tif", chip, crs=zone, corner=corner, pixel=(10.0057, 9.9941))
    for split, order in (("eurosat", ("train", "val", "test")), ("eurosat-spatial", ("test", "train", "val"))):
        for place, role in enumerate(order):
            names = [f"{each}.jpg" for i, each in enumerate(truth) if i % 3 == place and each != "Forest_2"]
            names += ["River_1.jpg"] if place == 0 else []
            (root / f"{split}-{role}.txt").write_text("\r\n".join(names) + "\n")
    return truth


def pack(root: Path, archive: Path) -> None:
    """Put the chips into the nested folder of the original zip, with the litter of a Mac; lists stay beside it."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(root.rglob("*.tif")):
            packed.write(path, f"{NESTED}/{path.relative_to(root)}")
            packed.writestr(f"__MACOSX/{NESTED}/{path.parent.name}/._{path.name}", b"litter")
    for path in root.glob("*.txt"):
        (archive.parent / path.name).write_bytes(path.read_bytes())
