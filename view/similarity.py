"""Similarity by click: the map that `bandloom similar` writes, made on demand and shown as a layer of the page."""

import contextlib
import shutil
import threading
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window

from bandloom.embeddings.raster import EmbeddingRaster
from bandloom.embeddings.similar import map_similarity
from bandloom.errors import SceneError
from bandloom.rasters.footprint import footprint
from bandloom.rasters.web_tiles import view_bounds
from bandloom.view.class_map import place_of
from bandloom.view.tiles import Bounds, window_of
from bandloom.view.value_map import LEVELS, ramp

KEPT = 8  # maps of earlier clicks
SAMPLE_PX = 512  # side of the overview that the ends of the colours are taken from
ENDS = (2, 99)  # percentiles of it: of many encoders every cosine is high


class Similarity:
    """Maps of cosine similarity with the token under a click."""

    def __init__(self, path: Path) -> None:
        """Open embeddings of `bandloom embed` or `predict --embeddings`, packed or not.

        Raises:
            SceneError: the file is no raster of embeddings.
        """
        if not path.is_file():
            raise SceneError(f"the embeddings {path} do not exist; bandloom embed CHECKPOINT SCENE --out writes them.")
        self.path, self.opened = path, EmbeddingRaster(path)
        self.bounds = view_bounds(footprint(self.opened.crs, self.opened.transform, self.opened.shape))
        self._folder = Path(mkdtemp(prefix="bandloom-similar-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._lock = threading.Lock()
        self._maps: dict[str, tuple[Path, dict[str, Any]]] = {}

    def record(self) -> dict[str, Any]:
        """Return what the page needs to know, as JSON types."""
        colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in ramp(9).tolist()]
        return {"name": self.path.name, "bounds": list(self.bounds), "colours": colours}

    def near(self, longitude: float, latitude: float) -> dict[str, Any] | None:
        """Map what looks like a place, and return the map's name and the cosines at the ends of its colours.

        Returns:
            None where nothing was measured, or outside.
        """
        token = place_of(longitude, latitude, self.opened.crs, self.opened.transform, self.opened.shape)
        if token is None:
            return None
        row, column = token
        if not np.isfinite(self.opened.read(Window(column, row, 1, 1))).all():  # type: ignore[call-arg]
            return None
        name = f"{row}-{column}"
        with self._lock:  # of two clicks on one token the second waits for the first's map
            if name not in self._maps:
                self._forget()
                path = self._folder / f"{name}.tif"
                centre = self.opened.transform * (column + 0.5, row + 0.5)
                share = map_similarity(self.path, path, centre, self.opened.crs.to_wkt())
                self._maps[name] = path, {"name": name, "share": share, **_ends(path)}
            return self._maps[name][1]

    def picture(self, name: str, bounds: Bounds, size: tuple[int, int], least: float) -> np.ndarray:
        """Return a map's colours in a window, ``(H, W, 4)`` uint8, clear below a cosine and where nothing is known.

        Raises:
            LookupError: there is no map of this name any longer.
        """
        path, told = self._maps[name]
        cosine = window_of(path, 1, bounds, size, Resampling.nearest, float("nan"))
        share = np.nan_to_num((cosine - told["low"]) / max(told["high"] - told["low"], 1e-6))
        shown = np.isfinite(cosine) & (cosine >= least)
        colours = ramp(LEVELS)[np.clip(share * LEVELS, 0, LEVELS - 1).astype(int)]
        return np.dstack([colours, np.where(shown, 255, 0).astype(np.uint8)])

    def _forget(self) -> None:
        while len(self._maps) >= KEPT:
            path, _ = self._maps.pop(next(iter(self._maps)))
            with contextlib.suppress(OSError):
                path.unlink()


def _ends(path: Path) -> dict[str, float]:
    with rasterio.open(path) as source:
        shape = min(SAMPLE_PX, source.height), min(SAMPLE_PX, source.width)
        values = source.read(1, out_shape=shape)
    low, high = np.nanpercentile(values, ENDS)
    return {"low": round(float(low), 4), "high": round(float(high), 4)}
