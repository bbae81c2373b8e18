"""Measured values of a scene's ground as float32 with NaN where nothing is known; and values of chips from a table."""

import csv
import math
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from bandloom.command_line.console import logger
from bandloom.errors import LabelError, nearest
from bandloom.files.csv_rows import NamedRows, decimal
from bandloom.shards.labels.label_raster import LabelRaster
from bandloom.shards.labels.open_labels import label_path
from bandloom.shards.labels.reading import Ground, LabelReading
from bandloom.shards.labels.stored_raster import PRESENT
from bandloom.shards.scenes import Scene, WindowM

TABLE_SUFFIX = ".csv"
NAMES = ("key", "path", "file", "name", "scene")  # columns that say which chip a row is about

# what programs write where nothing is known: GIS, the least of int16 and float32, netCDF, CF
FILLS = (-9999.0, -99999.0, -32768.0, float(np.finfo(np.float32).min), 9.969209968386869e36, 1e20)


class SceneValues:
    """A raster of values, read by the windows of a scene; its nodata, masks and NaN are unknown."""

    def __init__(self, pattern: str, source: str, scene: Scene, reading: LabelReading) -> None:
        """Open the raster of a scene; see :func:`bandloom.shards.labels.open_labels.label_path` for where it lies.

        Raises:
            LabelError: there is none, it has several bands or no coordinate system, or lies elsewhere.
            SceneError: it cannot be opened.
        """
        try:
            path = label_path(pattern, source, scene.name)
        except LabelError as cause:
            raise LabelError(str(cause).replace("--labels", "--values").replace("labels", "values")) from cause
        self._raster = LabelRaster(path, Ground.of(scene), reading, scaled=True)
        self._told = reading.nodata is not None
        for note in self._raster.stored.warnings():
            logger.warning("%s", note)

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` float32 of a window, the file's scale and offset applied, NaN where unknown.

        Raises:
            LabelError: it holds what programs write where nothing is known, and nobody says that it does.
            SceneError: the file is damaged.
        """
        stored, why = self._raster.read(window_m)
        if not self._told:
            self._check_lost(stored[why == PRESENT])
        scale, offset = self._raster.stored.scale
        values = (stored.astype(np.float64) * scale + offset).astype(np.float32)
        values[(why != PRESENT) | ~np.isfinite(values)] = np.nan
        return values

    def _check_lost(self, stored: np.ndarray) -> None:
        for fill in FILLS:
            if (held := _share_of(stored, fill)) > 0:
                raise LabelError(
                    f"{self._raster.stored.path} holds {fill:g} in {held:.1%} of a sample's pixels and does not declare"
                    f" it as nodata; say --label-nodata {fill!r} if nothing is known there, or --label-nodata none if"
                    " it was measured."
                )

    def close(self) -> None:
        """Close the file."""
        self._raster.close()


@cache
def read_value_table(path: Path, field: str) -> MappingProxyType[str, float]:
    """Return values by chip of a CSV: one column names the chip (its key, path or name), another holds the value.

    Rows without a value are left out.

    Raises:
        LabelError: the file or a column is missing, a value is no finite number, or a chip has two values.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            named_rows = NamedRows(file)
            named_rows.require_once(field, *NAMES)
            rows = list(named_rows)
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise LabelError(f"the table {path} cannot be read ({cause}); give a CSV with a header.") from cause
    held = named_rows.names if rows else []
    named = next((name for name in NAMES if name in held), None)
    if named is None or field not in held:
        missing = f"no column {field!r}" if named else f"none of the columns {', '.join(NAMES)}"
        raise LabelError(
            f"the table {path} has {missing} (it has {', '.join(held) or 'no row'}); name the values' column with"
            f" --label-field.{nearest(field, held)}"
        )
    by_scene: dict[str, float] = {}
    for number, row in rows:
        key, text = stem_of(row[named]), row[field].strip()
        if not text:
            continue
        if key in by_scene:
            raise LabelError(f"{path} line {number}: {key!r} has a value already; keep one row a chip.")
        by_scene[key] = _number(text, f"{path} line {number}")
    return MappingProxyType(by_scene)


def stem_of(text: str) -> str:
    """Return a chip's name: without folders and without the suffix of a raster."""
    return Path(text.strip()).name.rsplit(".", 1)[0] if "." in Path(text.strip()).name else Path(text.strip()).name


def _number(text: str, where: str) -> float:
    try:
        value = decimal(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise LabelError(f"{where}: {text!r} is no number; leave the cell empty where nothing was measured.")
    return value


def _share_of(stored: np.ndarray, fill: float) -> float:
    """Return the share of samples that hold a fill value, in their own type or as a float32 that became wider."""
    return float(((stored == fill) | (stored == np.float32(fill))).mean()) if stored.size else 0.0
