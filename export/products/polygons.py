"""A map of classes as polygons, with hectares and confidence; a strip of the map in memory at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from bandloom.command_line.options import Option
from bandloom.errors import ConfigError, SceneError
from bandloom.export.maps.class_grid import ClassGrid
from bandloom.export.maps.feature_file import Batch, FeatureLayer, write_features
from bandloom.export.products.least_area import JUST_BELOW, absorb_small
from bandloom.export.products.outlines import outlines
from bandloom.export.products.patches import NOTHING, LabelledStrip, Patches, find_patches, labelled_strips

COLUMNS = {"class": "string", "code": "int64", "hectares": "float64", "confidence_percent": "float64"}


@dataclass(frozen=True)
class PolygonOptions:
    """How a map becomes polygons."""

    least_ha: Annotated[float, Option("Patches below this area take the class around them; 0: none.")] = 0.25
    smooth_px: Annotated[
        float, Option("Corners smaller than this, in pixels, are cut off; 0 keeps pixels.", "--smooth")
    ] = 1.0

    def check(self) -> None:
        """Check that the numbers can be used.

        Raises:
            ConfigError: one is negative or no number.
        """
        for name, value in (("--least-ha", self.least_ha), ("--smooth", self.smooth_px)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name} {value:g} is refused; give 0 or more.")


@dataclass
class Written:
    """What was written."""

    path: Path
    polygons: int = 0
    hectares: dict[str, float] = field(default_factory=dict)
    absorbed: int = 0
    absorbed_ha: float = 0.0
    alone: int = 0
    least_ha: float = 0.0

    def lines(self) -> list[str]:
        """Return the report a person reads."""
        lines = [f"{self.path}: {self.polygons:,} polygons, {sum(self.hectares.values()):,.2f} ha"]
        if self.absorbed:
            lines.append(
                f"{self.absorbed:,} patches below {self.least_ha:g} ha ({self.absorbed_ha:,.2f} ha) took the class"
                " around them"
            )
        if self.alone:
            lines.append(f"{self.alone:,} polygons below {self.least_ha:g} ha lie alone in ground without a class")
        return lines


def write_polygons(map_path: Path, out: Path, options: PolygonOptions, rows: int | None = None) -> Written:
    """Write the patches of a map as polygons.

    The column ``hectares`` is the area of a polygon's pixels on the ground, whatever smoothing does to its outline;
    ``confidence_percent`` is the mean of ``MAP.confidence.tif``, where that lies beside the map, over the pixels that
    the map itself gives the polygon's class.

    Args:
        map_path: the map.
        out: a new file; its ending says which kind.
        options: least area and smoothing.
        rows: of the map in memory at a time; None: as many as are quick.

    Raises:
        SceneError: the map cannot be read, or its pixels have no known area.
        OutputError: ``out`` exists, or cannot be written.
    """
    options.check()
    grid = ClassGrid(map_path)
    _ = Confidence(grid).path  # one on another grid is refused before the map is read
    source = PolygonSource(grid, options, rows)
    layer = FeatureLayer(map_path.stem, "Polygon", grid.crs, COLUMNS)
    write_features(out, layer, source.batches())
    source.written.path = out
    return source.written


class PolygonSource:
    """The polygons of a map in the order in which they are finished from top to bottom."""

    def __init__(self, grid: ClassGrid, options: PolygonOptions, rows: int | None) -> None:
        self._grid, self._options, self._rows = grid, options, rows
        self.written = Written(grid.path, least_ha=options.least_ha)

    def batches(self) -> Iterator[Batch]:
        """Yield the polygons that end in each strip."""
        import shapely  # pyright: ignore[reportMissingImports]

        table = _Table(self._grid, find_patches(self._grid, self._options.least_ha, self._rows), self._options.least_ha)
        self._note(table)
        ends = np.zeros(len(table.kind), np.int64)
        for strip in labelled_strips(self._grid, self._rows):
            ends[table.of[strip.labels]] = strip.top
        open_pieces: dict[int, list[Any]] = {}
        for strip, above, below in _beside(labelled_strips(self._grid, self._rows), table.of):
            patches = table.of[strip.labels]
            table.add_confidence(strip, patches)
            polygons, owners = outlines(patches, above, below, self._options.smooth_px, strip.top)
            kept = table.kind[owners] != NOTHING
            polygons, owners = polygons[kept], owners[kept]
            for number in np.flatnonzero(ends[owners] > strip.top).tolist():
                open_pieces.setdefault(int(owners[number]), []).append(polygons[number])
            ending = ends[owners] == strip.top
            whole, pieces = _single(owners[ending], polygons[ending], open_pieces)
            joined = [shapely.coverage_union_all(open_pieces.pop(patch, []) + parts) for patch, parts in pieces.items()]
            numbers = np.array([*whole, *pieces], np.int64)
            if len(numbers):
                yield self._batch(table, numbers, np.array([*whole.values(), *joined], object))

    def _batch(self, table: "_Table", numbers: np.ndarray, polygons: np.ndarray) -> Batch:
        import shapely  # pyright: ignore[reportMissingImports]

        to_ground = self._grid.transform
        placed = shapely.transform(polygons, lambda xy: np.stack(to_ground * (xy[:, 0], xy[:, 1]), axis=1))
        classes = [self._grid.classes[kind] for kind in table.kind[numbers].tolist()]
        hectares = table.hectares[numbers]
        self.written.polygons += len(numbers)
        for land_class, area in zip(classes, hectares.tolist(), strict=True):
            self.written.hectares[land_class.name] = self.written.hectares.get(land_class.name, 0.0) + area
        return shapely.to_wkb(placed), {
            "class": [land_class.name for land_class in classes],
            "code": [land_class.code for land_class in classes],
            "hectares": hectares,
            "confidence_percent": table.confidence(numbers),
        }

    def _note(self, table: "_Table") -> None:
        self.written.absorbed, self.written.absorbed_ha = table.absorbed
        small = (table.hectares < self._options.least_ha * JUST_BELOW) & (table.kind != NOTHING)
        self.written.alone = int(small.sum())


class _Table:
    """Class, area and confidence of every polygon, by its number."""

    def __init__(self, grid: ClassGrid, patches: Patches, least_ha: float) -> None:
        merged, self.kind = absorb_small(patches, least_ha)
        self.of = merged[patches.of].astype(np.int32)
        self.hectares = np.bincount(merged, patches.hectares)
        changed = self.kind[merged] != patches.kind
        self.absorbed = int(changed.sum()), float(patches.hectares[changed].sum())
        self._confidence = Confidence(grid)
        self._sum, self._pixels = np.zeros(len(self.kind)), np.zeros(len(self.kind), np.int64)

    def add_confidence(self, strip: LabelledStrip, patches: np.ndarray) -> None:
        """Count the confidence of a strip's pixels that the map itself gives their polygon's class."""
        if self._confidence.path is None:
            return
        percent, known = self._confidence.read(strip.top, len(patches))
        own = known & (strip.kinds == self.kind[patches]) & (strip.kinds != NOTHING)
        numbers, places = np.unique(patches[own], return_inverse=True)
        self._sum[numbers] += np.bincount(places, percent[own], len(numbers))
        self._pixels[numbers] += np.bincount(places, minlength=len(numbers))

    def confidence(self, numbers: np.ndarray) -> np.ndarray:
        """Return the mean confidence of polygons in percent, NaN where none is known."""
        pixels = self._pixels[numbers]
        return np.where(pixels > 0, self._sum[numbers] / np.maximum(pixels, 1), np.nan)


@dataclass(frozen=True)
class Confidence:
    """The confidence of a map's pixels, where ``predict --confidence`` wrote it beside the map."""

    grid: ClassGrid

    @cached_property
    def path(self) -> Path | None:
        """The file, if it is there.

        Raises:
            SceneError: it lies on another grid than the map.
        """
        path = self.grid.path.with_suffix(".confidence.tif")
        if not path.is_file():
            return None
        with rasterio.open(path) as source:
            if source.shape != self.grid.shape or source.transform != self.grid.transform:
                raise SceneError(f"{path} lies on another grid than {self.grid.path}; move it away, or map again.")
        return path

    def read(self, top: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(rows, W)`` percent, and where it is known.

        Raises:
            SceneError: the file cannot be read.
        """
        window: Any = rasterio.windows.Window(0, top, self.grid.shape[1], rows)  # type: ignore[call-arg]
        try:
            with rasterio.open(self.path) as source:
                return source.read(1, window=window), source.read_masks(1, window=window) != 0
        except RasterioError as cause:
            raise SceneError(f"{self.path} cannot be read ({cause}); move it away, or map again.") from cause


def _beside(
    strips: Iterator[LabelledStrip], of: np.ndarray
) -> Iterator[tuple[LabelledStrip, np.ndarray | None, np.ndarray | None]]:
    """Yield each strip with the rows of patches above and below it."""
    above, held = None, next(strips)
    for following in strips:
        yield held, above, of[following.labels[0]]
        above, held = of[held.labels[-1]], following
    yield held, above, None


def _single(
    owners: np.ndarray, polygons: np.ndarray, open_pieces: dict[int, list[Any]]
) -> tuple[dict[int, Any], dict[int, list[Any]]]:
    """Part polygons that are in one piece from the pieces of others, by patch."""
    pieces: dict[int, list[Any]] = {}
    for number, polygon in zip(owners.tolist(), polygons.tolist(), strict=True):
        pieces.setdefault(number, []).append(polygon)
    whole = {number: parts[0] for number, parts in pieces.items() if len(parts) == 1 and number not in open_pieces}
    return whole, {number: parts for number, parts in pieces.items() if number not in whole}
