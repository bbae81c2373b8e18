"""Small SEN12MS and DFC2020: seasons, scenes and patches in names, four bands of land cover, lists that name radar."""

from pathlib import Path

import numpy as np

from tests.finetune.public_sets.replicas.writing import pixels, write_tif

ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


def _write(root: Path, group: str, scene: int, patch: int, label: np.ndarray, kind: str, rng) -> np.ndarray:
    corner = (5e5 + 3000 * patch, 5e6 + 100_000 * scene)
    stack = pixels(rng, ORDER, label.shape[-1])
    write_tif(root / group / f"s2_{scene}" / f"{group}_s2_{scene}_p{patch}.tif", stack, corner=corner)
    write_tif(root / group / f"{kind}_{scene}" / f"{group}_{kind}_{scene}_p{patch}.tif", label, corner=corner)
    return stack


def write_dfc2020(root: Path, side: int = 24) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return stored bands and codes by patch."""
    rng, truth = np.random.default_rng(0), {}
    for group in ("ROIs0000_test", "ROIs0000_validation"):
        for scene in (0, 1):
            for patch in (7, 30):
                label = rng.choice([0, 1, 2, 4, 5, 6, 7, 9, 10], (side, side)).astype(np.uint8)
                stack = _write(root, group, scene, patch, label, "dfc", rng)
                truth[f"{group}_{scene}_p{patch}"] = stack, label
    names = sorted(truth)
    for i, role in enumerate(("train", "val", "test")):
        rows = [name.rsplit("_", 2) for name in names[i::3]]
        lines = [f"{group}_dfc_{scene}_{patch}.tif" for group, scene, patch in rows]
        (root / f"dfc-{role}-new.csv").write_text("\n".join(lines))
    return truth


def write_sen12ms(root: Path, side: int = 24) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return stored bands and the first of four bands of land cover by patch."""
    rng, truth, lists = np.random.default_rng(1), {}, {"train": [], "test": []}
    for number, (group, scene) in enumerate((("ROIs1158_spring", 1), ("ROIs1868_summer", 2), ("ROIs1970_fall", 44))):
        for patch in (30, 31):
            label = rng.integers(1, 18, (4, side, side)).astype(np.uint16)
            stack = _write(root, group, scene, patch, label, "lc", rng)
            truth[f"{group}_{scene}_p{patch}"] = stack, label[0]
            lists["test" if number == 2 else "train"].append(f"{group}_s1_{scene}_p{patch}.tif")
    for role, names in lists.items():
        (root / f"{role}_list.txt").write_text("\n".join(names) + "\n")
    return truth
