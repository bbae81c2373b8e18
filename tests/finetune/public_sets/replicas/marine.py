"""Small MADOS and MARIDA: rasters named by wavelength at three samplings, eleven bands in one file, NaN, negatives."""

from pathlib import Path

import numpy as np

from bandloom.sensors import SLOT_GSD_M
from tests.finetune.public_sets.replicas.writing import LEVELS, write_tif

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
NM = {"A": (443, 492, 560, 665, 704, 740, 783, 833, 865, 1614, 2202)}
NM["B"] = (442, 492, 559, 665, 704, 739, 780, 833, 864, 1610, 2186)
CROPS = {"Scene_0_1": ("train", "A"), "Scene_0_2": ("val", "A"), "Scene_12_1": ("test", "B")}
PATCHES = {"1-12-19_48MYU_0": "train", "1-12-19_48MYU_1": "val", "4-3-18_50LLR_7": "test"}


def _sea(rng: np.random.Generator, band: str, side: int) -> np.ndarray:
    values = rng.normal(LEVELS[band] / 40_000, 0.01, (side, side)).astype(np.float32)
    values[0, 0] = -0.003
    return values


def write_mados(root: Path, side: int = 24) -> dict[str, tuple[dict[str, np.ndarray], np.ndarray]]:
    """Return native reflectances by band, and codes, by crop."""
    rng, truth, lists = np.random.default_rng(0), {}, {}
    for crop, (role, sensor) in CROPS.items():
        scene, number = crop.rsplit("_", 1)
        bands = {}
        for band, nm in zip(BANDS, NM[sensor], strict=True):
            gsd = SLOT_GSD_M[band]
            bands[band] = _sea(rng, band, side * 10 // gsd)
            bands[band][-1, -1] = np.nan
            write_tif(root / scene / str(gsd) / f"{scene}_L2R_rhorc_{nm}_{number}.tif", bands[band], pixel=float(gsd))
        codes = rng.integers(0, 16, (side, side)).astype(np.uint8)
        write_tif(root / scene / "10" / f"{scene}_L2R_cl_{number}.tif", codes)
        truth[crop] = bands, codes
        lists.setdefault(role, []).append(crop)
    _lists(root / "splits", lists)
    return truth


def write_marida(root: Path, side: int = 24) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return reflectances ``(11, H, W)`` and codes by patch."""
    rng, truth, lists = np.random.default_rng(1), {}, {}
    for name, role in PATCHES.items():
        patch, scene = f"S2_{name}", f"S2_{name.rsplit('_', 1)[0]}"
        stack = np.stack([_sea(rng, band, side) for band in BANDS])
        stack[:, :2, :3], stack[3, 5, 5] = np.nan, np.nan
        codes = rng.integers(0, 16, (side, side)).astype(np.float32)
        write_tif(root / "patches" / scene / f"{patch}.tif", stack)
        write_tif(root / "patches" / scene / f"{patch}_cl.tif", codes)
        write_tif(root / "patches" / scene / f"{patch}_conf.tif", codes)
        truth[patch] = stack, codes
        lists.setdefault(role, []).append(name)
    _lists(root / "splits", lists)
    return truth


def _lists(folder: Path, lists: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True)
    for role, names in lists.items():
        (folder / f"{role}_X.txt").write_text("\n".join(names) + "\n")
