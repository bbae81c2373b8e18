"""Labels that travel with their pixels: where they lie, and a label raster on its scene's ground as class indices."""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from bandloom.errors import LabelError
from bandloom.label_set import IGNORE_INDEX, LabelSet
from bandloom.shards.build.label_polygons import VECTOR_SUFFIXES, LabelPolygons
from bandloom.shards.scenes import Scene, WindowM
from bandloom.shards.scenes.grid import frame_of, nominal_gsd_m, open_raster, read_raster

LABEL_GSD_M = 10


class LabelRaster:
    """A label raster of the same ground as a scene, read by the scene's windows."""

    def __init__(self, path: Path, scene: Scene, label_set: LabelSet) -> None:
        """Open ``path`` and check that it lies on the scene.

        Raises:
            LabelError: it has another size or place than the scene.
            SceneError: it cannot be read.
        """
        self._path, self._label_set = path, label_set
        self._raster = open_raster(path)
        self._view: Any = self._raster
        frame, warp = frame_of(self._raster, path, scene.crs)
        size, place = (frame.width_m, frame.height_m), (frame.x_m, frame.y_m)
        wanted = (scene.width_m, scene.height_m), (scene.transform.c, scene.transform.f)
        if frame.crs != scene.crs or max(_off(size, wanted[0]), _off(place, wanted[1])) > LABEL_GSD_M / 2:
            self.close()
            raise LabelError(
                f"{path} ({self._raster.width} x {self._raster.height} pixels in {frame.crs}, corner {place[0]:.0f},"
                f" {place[1]:.0f}) does not lie on scene {scene.name} ({scene.width_m:g} x {scene.height_m:g} m in"
                f" {scene.crs}, corner {wanted[1][0]:.0f}, {wanted[1][1]:.0f}); crop or warp it to the scene's pixels."
            )
        self._pixel_m = LABEL_GSD_M if warp else round(nominal_gsd_m(self._raster.transform.a, path))
        if self._pixel_m % LABEL_GSD_M:
            self.close()
            raise LabelError(
                f"{path} has pixels of {self._pixel_m} m; expected 10 m or a multiple: resample it (mode)."
            )
        if warp:
            self._view = WarpedVRT(
                self._raster,
                crs=frame.crs,
                transform=Affine(10, 0, frame.x_m, 0, -10, frame.y_m),
                width=round(frame.width_m / 10),
                height=round(frame.height_m / 10),
                resampling=Resampling.nearest,
                src_nodata=IGNORE_INDEX,
                nodata=IGNORE_INDEX,
            )

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` uint8 class indices of a window; what lies outside is ignored.

        Raises:
            LabelError: a value is not in the label set.
        """
        x, y, width, height = (round(edge / self._pixel_m) for edge in window_m)
        left, top = max(0, x), max(0, y)
        right, bottom = min(self._view.width, x + width), min(self._view.height, y + height)
        out = np.full((height, width), IGNORE_INDEX, np.uint8)
        if right > left and bottom > top:
            window = Window(left, top, right - left, bottom - top)  # pyright: ignore[reportCallIssue]
            codes = read_raster(self._view, self._path, indexes=1, window=window)
            outside = codes == IGNORE_INDEX
            known = np.where(outside, self._label_set.codes[0], codes)
            indices = np.where(outside, IGNORE_INDEX, self._label_set.index_of(known, str(self._path)))
            out[top - y : bottom - y, left - x : right - x] = indices
        factor = self._pixel_m // LABEL_GSD_M
        return out if factor == 1 else out.repeat(factor, 0).repeat(factor, 1)

    def close(self) -> None:
        """Close the raster."""
        if self._view is not self._raster:
            self._view.close()
        self._raster.close()

    def __enter__(self) -> "LabelRaster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _off(one: tuple[float, float], two: tuple[float, float]) -> float:
    return max(abs(one[0] - two[0]), abs(one[1] - two[1]))


def open_labels(
    pattern: str, source: str, scene: Scene, label_set: LabelSet, field: str
) -> "LabelRaster | LabelPolygons":
    """Open a scene's labels, a raster or polygons; see :func:`label_path` and their own classes for what is raised."""
    path = label_path(pattern, source, scene.name)
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return LabelPolygons(path, scene, label_set, field, own=path != Path(pattern))
    return LabelRaster(path, scene, label_set)


def label_path(pattern: str, source: str, name: str) -> Path:
    """Return a scene's label file.

    Args:
        pattern: a folder of NAME.tif (or NAME.geojson, NAME.gpkg), one file, which polygons of all scenes may share, or
            a path with {name}, {parent}, {folder}.
        source: the scene's path.
        name: the scene's name.

    Raises:
        LabelError: there is no such file.
    """
    parent = Path(source).parent
    if "{" in pattern:
        paths = [Path(pattern.format(name=name, parent=parent.name, folder=parent))]
    elif Path(pattern).is_dir():
        paths = [Path(pattern) / f"{name}{suffix}" for suffix in (".tif", *VECTOR_SUFFIXES)]
    else:
        paths = [Path(pattern)]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise LabelError(
            f"scene {name} has no labels at {paths[0]}; --labels takes a folder of NAME.tif, NAME.geojson or NAME.gpkg,"
            " one file of polygons, or a path with {name}, {parent} (the name of the scene's folder) or {folder} (its"
            " path)."
        )
    return found
