"""Small sets of GEO-Bench v1: HDF5 with the wrong names, dated names, floats, and a pickle that would run."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from tests.finetune.public_sets.replicas.writing import pixels

S2 = {
    "B01": "01 - Coastal aerosol",
    "B02": "02 - Blue",
    "B03": "03 - Green",
    "B04": "04 - Red",
    "B05": "05 - Vegetation Red Edge",
    "B06": "06 - Vegetation Red Edge",
    "B07": "07 - Vegetation Red Edge",
    "B08": "08 - NIR",
    "B8A": "08A - Vegetation Red Edge",
    "B09": "09 - Water vapour",
    "B10": "10 - SWIR - Cirrus",
    "B11": "11 - SWIR",
    "B12": "12 - SWIR",
}
FILE_ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
L2A = tuple(band for band in S2 if band != "B10")
SO2SAT = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
ROLES = ("train", "valid", "test")


class Runs:
    """What a pickle must never be allowed to do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


class Wkt:
    """Stands for rasterio's CRS: a text somewhere in its state."""

    def __init__(self, text: str) -> None:
        self.text = text


def write_sample(path: Path, datasets: dict[str, np.ndarray], attributes: dict) -> None:
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
        file.attrs["pickle"] = str(pickle.dumps(attributes))


def write_partition(folder: Path, names: list[str]) -> None:
    lists = {role: names[i::3] for i, role in enumerate(ROLES)}
    (folder / "default_partition.json").write_text(json.dumps(lists))
    (folder / "0.50x_train_partition.json").write_text(json.dumps(lists | {"train": lists["train"][:1]}))


def m_eurosat(root: Path, ran: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Chips whose five last bands have another's name; returns ``(13, H, W)`` in EuroSAT's own order, and the label."""
    from rasterio.crs import CRS

    rng, truth, folder = np.random.default_rng(0), {}, root / "classification_v1.0" / "m-eurosat"
    for number, label in enumerate((9, 0, 5, 7)):
        chip = pixels(rng, FILE_ORDER, 64).astype(np.int16)
        place = {"transform": Affine(10.0057, 0, 5e5 + 700 * number, 0, -9.9941, 5e6), "crs": CRS.from_epsg(32633)}
        names = list(S2.values())  # in the usual order, over bands in EuroSAT's
        attributes = {"label": label, "bands_order": names, "extra": Runs(ran)}
        attributes |= {name: {"band_info": None, "date": None, **place} for name in names}
        write_sample(folder / f"id_{number}.hdf5", dict(zip(names, chip, strict=True)), attributes)
        truth[f"id_{number}"] = chip, label
    write_partition(folder, list(truth))
    return truth


def m_bigearthnet(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Floats without a place, and 43 noughts and ones."""
    rng, truth, folder = np.random.default_rng(1), {}, root / "m-bigearthnet"
    for number, present in enumerate(((0, 42), (11,), (17, 23, 24))):
        stack = pixels(rng, L2A, 24).astype(np.float32)
        stack[:, :2, :2] = 0
        label = np.isin(np.arange(43), present).astype(np.int64)
        attributes = {"label": label, "02 - Blue": {"transform": None, "crs": None}}
        write_sample(folder / f"id_{number:04d}.hdf5", {S2[b]: v for b, v in zip(L2A, stack, strict=True)}, attributes)
        truth[f"id_{number:04d}"] = stack, label
    write_partition(folder, list(truth))
    return truth


def m_so2sat(root: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Radar beside reflectance of 0 to 1; a radar channel's name begins as a band's does."""
    rng, truth, folder = np.random.default_rng(2), {}, root / "m-so2sat"
    for number, label in enumerate((16, 0, 8)):
        stack = (pixels(rng, SO2SAT, 32) / 10000).astype(np.float32)
        datasets = {S2[band]: values for band, values in zip(SO2SAT, stack, strict=True)}
        datasets["02 - VH.Imaginary"] = -stack[0]
        write_sample(folder / f"id_{number:04d}.hdf5", datasets, {"label": np.int64(label)})
        truth[f"id_{number:04d}"] = stack, label
    write_partition(folder, list(truth))
    return truth


def m_segment(
    root: Path, folder: str, dates: tuple[str, ...], codes: int, samples: int = 3
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A mask a chip, bands of one or several dates by their names; returns ``(T, 12, H, W)`` and codes."""
    rng, truth = np.random.default_rng(3), {}
    for number in range(samples):
        stacks = np.stack([pixels(rng, L2A, 30).astype(np.int16) for _ in dates])
        stacks[0, :, 3, 3:6] = 0
        codes_here = rng.integers(0, codes, (30, 30)).astype(np.float32)
        datasets = {f"{S2[b]}_{day}": stacks[t, i] for t, day in enumerate(dates) for i, b in enumerate(L2A)}
        datasets |= {"label": codes_here, f"Cloud Probability_{dates[0]}": np.zeros((30, 30))}
        write_sample(root / folder / f"sample_{number}.hdf5", datasets, {"label": None, "bands_order": []})
        truth[f"sample_{number}"] = stacks, codes_here
    write_partition(root / folder, list(truth))
    return truth
