"""Reads a scene from top to bottom, every row once, ahead of the engine and in as many threads as asked.

Each reader thread owns a range of columns and a handle of its own, so a compressed block is decoded by one thread only
and, as long as the raster cache holds a row of blocks, once.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from rasterio.errors import RasterioError

from bandloom.errors import SceneError
from bandloom.export.bundle.tiling import CELL_M, CELL_PX, MAP_PIXEL_M, Tiling, mirror
from bandloom.rasters.values import valid

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

Window = tuple[float, float, float, float]  # x, y, width, height in metres from the upper-left corner
SceneGroups = dict[int, np.ndarray]  # {gsd_m: (C, H, W) uint16}


@dataclass(frozen=True)
class Strip:
    """Rows of a scene over its full width, enough for the tile rows whose cores begin at ``row_starts``."""

    row_starts: tuple[int, ...]
    top_px: int
    height_px: int  # of the whole scene, rounded up to the 60 m grid
    groups: SceneGroups
    dates: int = 1  # stacked in every group, the earlier one's bands first

    def tile_row(self, start_px: int, columns_px: tuple[int, int], tiling: Tiling, *, mirrored: bool) -> SceneGroups:
        """Return the pixels of one row of tiles, beyond the scene mirrored or absent.

        Args:
            start_px: the map row where the cores begin.
            columns_px: first and end map column of the tiles, margins included.
            tiling: the bundle's tiling.
            mirrored: reflect the scene at its border, rather than pad it with absent samples.
        """
        top = start_px - tiling.margin_px
        return {
            gsd_m: _take(
                _take(dn, 1, gsd_m, (top, top + tiling.tile_px), self.top_px, self.height_px, mirrored),
                2,
                gsd_m,
                columns_px,
                0,
                dn.shape[2] * gsd_m // MAP_PIXEL_M,
                mirrored,
            )
            for gsd_m, dn in self.groups.items()
        }

    def measured(self, rows_px: tuple[int, int]) -> np.ndarray:
        """Tell which map pixels hold a sample, ``(rows, W)`` bool: at least one band of the finest grid measured it.

        Of several dates: at every date.
        """
        gsd_m = min(self.groups)
        dn = self.groups[gsd_m]
        rows = _centres(np.arange(*rows_px), gsd_m) - self.top_px * MAP_PIXEL_M // gsd_m
        columns = _centres(np.arange(dn.shape[2] * gsd_m // MAP_PIXEL_M), gsd_m)
        first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        by_date = valid(dn[:, first:last]).reshape(self.dates, -1, last - first, dn.shape[2])
        there = np.all(np.any(by_date, axis=1), axis=0)
        return there[rows - first][:, columns]


def _centres(pixels: np.ndarray, gsd_m: int) -> np.ndarray:
    """Return which sample of a ``gsd_m`` grid lies under the centre of each map pixel."""
    return ((pixels + 0.5) * MAP_PIXEL_M // gsd_m).astype(np.int64)


def _take(
    dn: np.ndarray, axis: int, gsd_m: int, span_px: tuple[int, int], first_px: int, size_px: int, mirrored: bool
) -> np.ndarray:
    """Return samples of map positions ``span_px`` along an axis that holds the scene from ``first_px`` on."""
    begin, end, first, size = (px * MAP_PIXEL_M // gsd_m for px in (*span_px, first_px, size_px))
    positions = np.arange(begin, end)
    if begin >= 0 and end <= size:  # inside: a view
        return dn[(slice(None),) * axis + (slice(begin - first, end - first),)]
    taken = dn.take(mirror(positions, size) - first, axis=axis)
    if not mirrored:
        taken[(slice(None),) * axis + ((positions < 0) | (positions >= size),)] = 0
    return taken


class StripReader:
    """Iterates over the strips of a scene, reading ahead; use it as a context manager."""

    def __init__(
        self,
        open_scene: Callable[[], "Scene"],
        size_px: tuple[int, int],
        tiling: Tiling,
        strips: Sequence[Sequence[int]],
        *,
        readers: int = 1,
        ahead: int = 1,
        dates: int = 1,
    ) -> None:
        """Plan the reading.

        Args:
            open_scene: opens one more handle of the scene; called once in each reader thread.
            size_px: height and width of the scene, rounded up to the 60 m grid.
            tiling: the bundle's tiling.
            strips: for each strip the map rows where the cores of its tile rows begin.
            readers: how many threads read, each its own columns.
            ahead: how many strips may be read before they are asked for.
            dates: how many dates the scene stacks in every group.
        """
        self._height_px, width_px = size_px
        self._strips = [tuple(int(start) for start in strip) for strip in strips]
        self._spans = [_source_rows(strip, tiling, self._height_px) for strip in self._strips]
        cells = np.linspace(0, width_px // CELL_PX, min(readers, width_px // CELL_PX) + 1).astype(int)
        self._columns = [_ColumnReader(open_scene, a, b) for a, b in itertools.pairwise(cells)]
        self._ahead, self._dates = ahead, dates

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        for column in self._columns:
            column.close()

    def __iter__(self) -> Iterator[Strip]:
        needed_from = np.minimum.accumulate([first for first, _ in self._spans][::-1])[::-1].tolist()
        ends = [0, *np.maximum.accumulate([end for _, end in self._spans]).tolist()]
        fresh = [(max(done, first), end) for done, first, end in zip(ends, needed_from, ends[1:], strict=False)]
        pending: list[list[Future[SceneGroups]]] = []
        held: SceneGroups = {}
        top = 0
        for number, strip in enumerate(self._strips):
            for begin, end in fresh[number + len(pending) : number + 1 + self._ahead]:
                pending.append([column.submit(begin, max(begin, end)) for column in self._columns])
            read = _side_by_side([future.result() for future in pending.pop(0)])
            held = _below(held, read, (needed_from[number] - top) // CELL_PX) if held else read
            top = needed_from[number]
            yield Strip(strip, top, self._height_px, held, self._dates)


class _ColumnReader:
    """One thread with its own handle of the scene, reading its own columns."""

    def __init__(self, open_scene: Callable[[], "Scene"], first_cell: int, end_cell: int) -> None:
        self._open_scene = open_scene
        self._scene: Scene | None = None
        self._x_m, self._width_m = float(first_cell * CELL_M), float((end_cell - first_cell) * CELL_M)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._submitted: list[Future[SceneGroups]] = []

    def submit(self, begin_px: int, end_px: int) -> Future[SceneGroups]:
        self._submitted = [task for task in self._submitted if not task.done()]
        self._submitted.append(self._thread.submit(self._read, begin_px, end_px))
        return self._submitted[-1]

    def _read(self, begin_px: int, end_px: int) -> SceneGroups:
        scene = self._scene = self._scene or self._open_scene()
        height_m = float((end_px - begin_px) * MAP_PIXEL_M)
        window_m = (self._x_m, float(begin_px * MAP_PIXEL_M), self._width_m, height_m)
        try:
            return scene.read(window_m)
        except (RasterioError, OSError) as cause:
            raise SceneError(
                f"{scene.name} could not be read at row {begin_px} ({cause}); check that it is whole and still there."
            ) from cause

    def close(self) -> None:
        """Close the handle in its own thread: GDAL's environment belongs to the thread that opened it."""
        for waiting in self._submitted:
            waiting.cancel()
        self._thread.submit(self._close_scene).result()
        self._thread.shutdown(wait=True)

    def _close_scene(self) -> None:
        if self._scene is not None:
            self._scene.close()


def _source_rows(starts: Sequence[int], tiling: Tiling, height_px: int) -> tuple[int, int]:
    """Return the first and end row of the scene that these tile rows look at, mirrored ones included."""
    begin, end = starts[0] - tiling.margin_px, starts[-1] + tiling.core_px + tiling.margin_px
    cells = mirror(np.arange(begin // CELL_PX, end // CELL_PX), height_px // CELL_PX)
    return int(cells.min()) * CELL_PX, (int(cells.max()) + 1) * CELL_PX


def _side_by_side(parts: list[SceneGroups]) -> SceneGroups:
    if len(parts) == 1:
        return parts[0]
    return {gsd_m: np.concatenate([part[gsd_m] for part in parts], axis=2) for gsd_m in parts[0]}


def _below(held: SceneGroups, read: SceneGroups, cells_to_drop: int) -> SceneGroups:
    """Put freshly read rows under those still needed."""
    return {
        gsd_m: np.concatenate([dn[:, cells_to_drop * CELL_M // gsd_m :], read[gsd_m]], axis=1)
        for gsd_m, dn in held.items()
    }
