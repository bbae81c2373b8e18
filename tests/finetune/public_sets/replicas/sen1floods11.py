"""A small Sen1Floods11: 13 bands in degrees, nearest copies of a UTM grid, labels -1, 0 and 1, lists of chips."""

from pathlib import Path

import numpy as np
from rasterio.transform import from_origin
from rasterio.warp import transform, transform_bounds

from bandloom.sensors import SLOT_GSD_M
from tests.finetune.public_sets.replicas.writing import pixels, write_tif

ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
DEGREES = 8.983152841195215e-05
ROLES = {"Ghana_101": "train", "India_202": "train", "Spain_303": "valid", "USA_404": "test", "Bolivia_505": "bolivia"}
TOP = "v1.1/data/flood_events/HandLabeled"


def write(root: Path, side: int = 60, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray, object]]:
    """Write the chips; return stored bands ``(13, H, W)``, labels and the transform in degrees by name."""
    rng, truth = np.random.default_rng(seed), {}
    for place, chip in enumerate(ROLES):
        corner = (600_000.0, 4_000_020.0 + 60_000 * place)
        field = pixels(rng, ORDER, side + 42 + -side % 6)
        for band, gsd in SLOT_GSD_M.items():  # the sensor's own samples, repeated
            times, plane = gsd // 10, field[ORDER.index(band)]
            plane[:] = plane[::times, ::times].repeat(times, 0).repeat(times, 1)
        west, _, _, north = transform_bounds(
            "EPSG:32633", "EPSG:4326", corner[0] + 200, corner[1] - 10 * side - 200, corner[0] + 400, corner[1] - 200
        )
        x, y = np.meshgrid(west + (np.arange(side) + 0.5) * DEGREES, north - (np.arange(side) + 0.5) * DEGREES)
        xs, ys = transform("EPSG:4326", "EPSG:32633", x.ravel().tolist(), y.ravel().tolist())[:2]
        columns = ((np.array(xs) - corner[0]) // 10).astype(int).reshape(side, side)
        rows = ((corner[1] - np.array(ys)) // 10).astype(int).reshape(side, side)
        stack = field[:, rows, columns]
        stack[:, :3] = 0  # the edge of the swath
        label = (stack[7] > np.median(stack[7])).astype(np.int16)
        label[:, :4] = -1
        told = {"crs": "EPSG:4326", "corner": (west, north), "pixel": DEGREES}
        write_tif(root / TOP / "S2Hand" / f"{chip}_S2Hand.tif", stack, **told)
        write_tif(root / TOP / "LabelHand" / f"{chip}_LabelHand.tif", label, **told)
        truth[chip] = stack, label, from_origin(west, north, DEGREES, DEGREES)
    splits = root / "v1.1" / "splits" / "flood_handlabeled"
    splits.mkdir(parents=True)
    for role in dict.fromkeys(ROLES.values()):
        chips = [chip for chip, own in ROLES.items() if own == role]
        rows = [f"{chip}_S1Hand.tif,{chip}_LabelHand.tif" for chip in chips]
        (splits / f"flood_{role}_data.csv").write_text("\n".join(rows) + "\n")
        if role == "test":
            (splits / f"flood_{role}_data.txt").write_text("\n".join(chips))
    return truth
