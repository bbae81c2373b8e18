"""Small BigEarthNets: version 2 in tiles with its table and maps, version 1 flat with a JSON a patch."""

import json
from pathlib import Path

import numpy as np
import pytest

from bandloom.sensors import SLOT_GSD_M
from tests.finetune.public_sets.replicas.writing import LEVELS, write_tif

TILES = ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", "S2B_MSIL2A_20180204T094161_N9999_R036_T34TCQ")
PATCHES = {  # name: (labels of version 2, split, CORINE codes of its map)
    f"{TILES[0]}_26_57": (["Arable land", "Pastures"], "train", (211, 212, 231)),
    f"{TILES[0]}_75_43": (["Urban fabric"], "validation", (111, 112, 141)),  # 141 has none of the 19 classes
    f"{TILES[0]}_10_11": (["Marine waters"], "test", (523, 523, 999)),
    f"{TILES[1]}_01_02": (["Permanent crops"], "train", (241, 241, 222)),
    f"{TILES[1]}_03_04": (["Pastures"], None, (231, 231, 231)),
}


def _patch(folder: Path, rng: np.random.Generator, corner) -> dict[str, np.ndarray]:
    bands = {}
    for band, gsd in SLOT_GSD_M.items():
        if band != "B10":
            side = 1200 // gsd
            bands[band] = (LEVELS[band] + rng.integers(0, 900, (side, side))).astype(np.uint16)
            bands[band][0, 0] = 0 if band == "B02" else bands[band][0, 0]
            write_tif(folder / f"{folder.name}_{band}.tif", bands[band], corner=corner, pixel=float(gsd), nodata=0)
    return bands


def write_v2(root: Path, seed: int = 0) -> dict[str, tuple[dict[str, np.ndarray], np.ndarray]]:
    """Write tiles, table and maps; return native bands and CORINE codes ``(120, 120)`` by patch."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rng, truth, rows = np.random.default_rng(seed), {}, []
    for number, (name, (labels, split, codes)) in enumerate(PATCHES.items()):
        tile, corner = name.rsplit("_", 2)[0], (600_000.0 + 1200 * number, 5_400_000.0)
        bands = _patch(root / "BigEarthNet-S2" / tile / name, rng, corner)
        land = np.repeat(np.array(codes, np.uint16), 40)[None].repeat(120, 0)
        write_tif(root / "Reference_Maps" / tile / name / f"{name}_reference_map.tif", land, corner=corner)
        truth[name] = bands, land
        rows.append({"patch_id": name, "labels": labels, "split": split, "country": "Serbia"})
    rows.append({"patch_id": f"{TILES[0]}_0_0", "labels": ["Pastures"], "split": "test", "country": "Serbia"})
    parquet.write_table(arrow.Table.from_pylist(rows), root / "metadata.parquet")
    return truth


V1 = {
    "S2A_MSIL2A_20170613T101031_1_39": (["Non-irrigated arable land", "Rice fields"], "train"),
    "S2A_MSIL2A_20170613T101031_2_39": (["Sea and ocean", "Port areas"], "val"),
    "S2A_MSIL2A_20170613T101031_3_39": (["Airports"], "train"),  # has none of the 19 classes
    "S2B_MSIL2A_20180204T094161_4_39": (["Olive groves"], "test"),
    "S2B_MSIL2A_20180204T094161_5_39": (["Pastures"], None),  # snow: in no list
}


def write_v1(root: Path, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Write patches with a JSON each, and three lists of pairs; return native bands by patch."""
    rng, truth = np.random.default_rng(seed), {}
    for number, (name, (labels, _)) in enumerate(V1.items()):
        folder = root / "BigEarthNet-v1.0" / name
        truth[name] = _patch(folder, rng, (600_000.0 + 1200 * number, 5_400_000.0))
        record = {"labels": labels, "tile_source": "S2A_x.SAFE", "acquisition_date": "2017-06-13 10:10:31"}
        (folder / f"{name}_labels_metadata.json").write_text(json.dumps(record))
    for role in ("train", "val", "test"):
        rows = [f"{name},S1A_IW_GRDH_{name[-4:]}" for name, (_, own) in V1.items() if own == role]
        rows += ["S2A_MSIL2A_20170613T101031_9_99,S1A_IW"] if role == "test" else []
        (root / f"bigearthnet-{role}.csv").write_text("\n".join(rows) + "\n")
    return truth
