"""True-colour GeoTIFF of a scene with overviews, made once when the server starts, so that its tiles cost little."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from rasterio.transform import Affine

from bandloom.command_line.console import track
from bandloom.errors import SceneError
from bandloom.export.bundle.tiling import CELL_PX, MAP_PIXEL_M
from bandloom.export.predict.map_file import MapMeaning, write_cog
from bandloom.export.predict.partial_map import DiskRows
from bandloom.export.predict.scene_mapper import map_size_px
from bandloom.rasters.values import dn_to_reflectance, valid

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

SLOTS = ("B04", "B03", "B02")  # red, green, blue
BRIGHTEST = 0.3  # reflectance shown as white
STRIP_PX = 100 * CELL_PX


def write_true_colour(scene: "Scene", path: Path) -> None:
    """Write red, green and blue bytes of a scene on the 10 m grid, 0 where nothing was measured.

    Raises:
        SceneError: the scene lacks one of the three bands.
    """
    height, width = map_size_px(scene)
    with TemporaryDirectory(dir=path.parent) as folder:
        pixels = DiskRows(Path(folder) / "rgb.raw", (height, width, 3))
        for top in track(range(0, height, STRIP_PX), f"picture of {scene.name}"):
            pixels.append(_rows(scene, top, min(top + STRIP_PX, height), width))
        scale = MAP_PIXEL_M / min(group.gsd_m for group in scene.sensor.groups)
        meaning = MapMeaning(scene.crs, scene.transform * Affine.scale(scale), 0, ("red", "green", "blue"))
        write_cog(path, pixels, meaning, Path(folder))


def _rows(scene: "Scene", top: int, end: int, width: int) -> np.ndarray:
    cells = -(-(end - top) // CELL_PX), -(-width // CELL_PX)
    groups = scene.read((0.0, float(top * MAP_PIXEL_M), cells[1] * 60.0, cells[0] * 60.0))
    return np.stack([_shown(scene, groups, slot)[: end - top, :width] for slot in SLOTS], axis=2)


def _shown(scene: "Scene", groups: dict[int, np.ndarray], slot: str) -> np.ndarray:
    """Return one band on the 10 m grid as bytes: 0 absent, 1 black, 255 bright."""
    for group in scene.sensor.groups:
        if slot in group.slots:
            dn = groups[group.gsd_m][group.slots.index(slot)]
            share = np.clip(dn_to_reflectance(dn) / BRIGHTEST, 0, 1) ** 0.7  # dark ground is what people look at
            shown = np.where(valid(dn), np.rint(1 + 254 * share), 0).astype(np.uint8)
            size = [side * group.gsd_m // MAP_PIXEL_M for side in dn.shape]
            rows, columns = (((np.arange(side) + 0.5) * MAP_PIXEL_M // group.gsd_m).astype(int) for side in size)
            return shown[rows][:, columns]
    raise SceneError(f"{scene.name} has no band in slot {slot}; a true-colour picture needs {', '.join(SLOTS)}.")
