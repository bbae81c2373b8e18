"""A small OSCD: blanks in folder names, registered bands without a place, maps of 0 and 255 or 1 and 2."""

from pathlib import Path

import numpy as np

from tests.finetune.public_sets.replicas.writing import pixels, write_tif

ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
NAME = "Onera Satellite Change Detection dataset - "
CITIES = {"abudhabi": "train", "bercy": "train", "paris": "train", "chongqing": "test", "milano": "test"}


def write(root: Path, side: int = 30, *, placed: bool = False) -> dict[str, tuple[list[np.ndarray], np.ndarray]]:
    """Write both dates of five cities; return stored bands of each date and True where something changed."""
    rng, truth = np.random.default_rng(0), {}
    for place, (city, role) in enumerate(CITIES.items()):
        folder, dates = root / f"{NAME}Images" / city, []
        told = {"crs": "EPSG:32633" if placed else None, "corner": (5e5 + 60_000 * place, 5e6)}
        told |= {} if placed else {"pixel": 1.0, "corner": (0, 0), "transform": None}
        for number in (1, 2):
            stack = pixels(rng, ORDER, side)
            stack[:, :2] = 0 if number == 2 else stack[:, :2]
            dates.append(stack)
            for band, values in zip(ORDER, stack, strict=True):
                write_tif(folder / f"imgs_{number}_rect" / f"{band}.tif", values, **told)
                write_tif(folder / f"imgs_{number}" / f"S2A_OPER_{band}.tif", values[::2, ::2], **told)
        first, second = ("20160101", "20180330") if city != "paris" else ("20180330", "20160101")
        (folder / "dates.txt").write_text(f"date_1: {first}\ndate_2: {second}\n")
        changed = rng.random((side, side)) < 0.2
        cm = root / f"{NAME}{role.title()} Labels" / city / "cm"
        if city == "bercy":
            write_tif(cm / f"{city}-cm.tif", (1 + changed).astype(np.uint8), crs=None, transform=None)
        else:
            write_tif(cm / "cm.png", (255 * changed).astype(np.uint8), driver="PNG", crs=None, transform=None)
        truth[city] = dates, changed
    (root / f"{NAME}Images" / "unlabelled" / "imgs_1_rect").mkdir(parents=True)
    return truth
