"""From a scene to blended logits, strip by strip; the memory held does not depend on the scene's height."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bandloom.errors import BundleError, SceneError
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.bundle.tiling import MAP_PIXEL_M, Tiling, round_up_to_cells, usual_batch
from bandloom.export.predict.blend import Accumulator
from bandloom.export.predict.clock import Clock
from bandloom.export.predict.strips import SceneGroups, Strip, StripReader
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.sensors import Sensor

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene


Place = tuple[int, int]  # the map row and column where a tile's core begins
_Batch = tuple[list[Place | Strip], Groups]  # tiles' places, and the strip behind its last tile
_Answer = tuple[list[Place | Strip], np.ndarray]  # logits (B, K, tile, tile)


@dataclass(frozen=True)
class MapRows:
    """Finished rows of the map: logits ``(K, h, W)`` float32 and where the scene was measured, ``(h, W)`` bool.

    ``extras`` are the further outputs that the runner gives, ``(n, h, W)`` float32.
    """

    top_px: int
    logits: np.ndarray
    measured: np.ndarray
    extras: np.ndarray


@dataclass(frozen=True)
class Pace:
    """How the work is cut; none of it changes the numbers."""

    batch: int | None = None  # tiles an engine call; None: :func:`usual_batch`
    strip_rows: int = 1  # tile rows read and blended at a time
    readers: int = 1  # threads that read


def check_sensor(sensor: Sensor, wanted: Sensor, scene: str) -> None:
    """Check that a scene is of the sensor that a bundle was made for: same level, bands, grids and slots.

    Raises:
        SceneError: what differs, with the fix.
    """
    used = [(band.slot, band.stored_gsd_m) for group in sensor.groups for band in group.bands]
    needed = [(band.slot, band.stored_gsd_m) for group in wanted.groups for band in group.bands]
    if sensor.reflectance != wanted.reflectance or used != needed:
        raise SceneError(
            f"{scene} is a scene of {sensor.name!r} ({len(used)} bands, {sensor.reflectance} reflectance), the bundle"
            f" was made for {wanted.name!r} ({len(needed)} bands, {wanted.reflectance} reflectance); use a bundle"
            " exported for this sensor, or name the scene's true sensor with --sensor."
        )


def map_size_px(scene: "Scene") -> tuple[int, int]:
    """Return the height and width of a scene's map in pixels of 10 m; a broken last pixel counts."""
    height, width = (int(np.ceil(round(side / MAP_PIXEL_M, 6))) for side in (scene.height_m, scene.width_m))
    return height, width


class SceneMapper:
    """Maps one scene; iterate :meth:`rows` for the finished rows from top to bottom."""

    def __init__(
        self,
        runner: Runner,
        tiling: Tiling,
        classes: int,
        open_scene: Callable[[], "Scene"],
        *,
        pace: Pace | None = None,
        shift_px: int = 0,
        dates: int = 1,
        extras: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Plan the tiles.

        Args:
            runner: the engine.
            tiling: the bundle's tiling.
            classes: K.
            open_scene: opens one more handle of the scene.
            pace: how the work is cut.
            shift_px: moves every tile up and left, to see what the seams do.
            dates: how many dates the scene stacks in every group.
            extras: how many channels the runner gives after the classes' own.
            clock: where the time goes.
        """
        self._runner, self._tiling, self._classes, self._open_scene = runner, tiling, classes, open_scene
        self._extras = extras
        self._pace, self._dates = pace or Pace(), dates
        self._batch = self._pace.batch or usual_batch(tiling.tile_px)
        self.clock = clock or Clock()
        with open_scene() as scene:
            self.height_px, self.width_px = map_size_px(scene)
            self._padded = round_up_to_cells(scene.height_m), round_up_to_cells(scene.width_m)
        self._row_starts = tiling.starts(self._padded[0], shift_px)
        self._column_starts = tiling.starts(self._padded[1], shift_px)
        self.tiles = len(self._row_starts) * len(self._column_starts)
        self.skipped = 0  # tiles with nothing to map

    @property
    def strips(self) -> int:
        """How many strips :meth:`rows` yields when it begins at the top."""
        return -(-len(self._row_starts) // self._pace.strip_rows)

    def rows(self, from_px: int = 0) -> Iterator[MapRows]:
        """Yield the map from row ``from_px`` on, in order and without gaps, a strip at a time.

        Batches run on across strips: while one strip is finished and written, the engine works on the next.
        """
        if from_px >= self.height_px:
            return  # an interrupted run had mapped everything and was stopped while it wrote
        starts = self._row_starts[self._row_starts + self._tiling.core_px > from_px].tolist()
        step = self._pace.strip_rows
        strips = [starts[i : i + step] for i in range(0, len(starts), step)]
        ends = [*(strip[0] for strip in strips[1:]), self._padded[0]]
        held_px = max(strip[-1] - strip[0] for strip in strips) + self._tiling.core_px
        sums = Accumulator(self._classes + self._extras, held_px, self._column_starts, self._tiling)
        sums.start_at(starts[0])
        reader = StripReader(
            self._open_scene, self._padded, self._tiling, strips, readers=self._pace.readers, dates=self._dates
        )
        end_of = dict(zip((strip[0] for strip in strips), ends, strict=True))
        with reader, ThreadPoolExecutor(self._runner.lanes, thread_name_prefix="engine") as engine:
            for items, logits in self._answered(self._batches(reader), engine):
                tiles = iter(logits)
                for item in items:
                    if isinstance(item, Strip):  # all its tiles were blended
                        rows = self._finish(item, sums, end_of[item.row_starts[0]], from_px)
                        if rows is not None:
                            yield rows
                    else:
                        self._blend(item, next(tiles), sums)

    def _answered(self, asked: Iterator[_Batch], engine: ThreadPoolExecutor) -> Iterator[_Answer]:
        """Yield batches with the engine's logits, in order, a few of them ahead of whoever takes them."""
        running: deque[tuple[list[Place | Strip], Future[np.ndarray] | None]] = deque()
        for items, groups in asked:
            running.append((items, engine.submit(self._run, groups) if groups else None))
            if len(running) > self._runner.lanes:
                yield _result(*running.popleft())
        while running:
            yield _result(*running.popleft())

    def _run(self, groups: Groups) -> np.ndarray:
        with self.clock.time("engine"):
            return self._runner.run(groups)

    def _blend(self, place: Place, logits: np.ndarray, sums: Accumulator) -> None:
        with self.clock.time("blending"):
            if not np.isfinite(logits.sum()):
                raise BundleError(
                    f"{self._runner.name} gave logits that are not finite for a tile near row {place[0]}, column"
                    f" {place[1]}; a 16-bit precision overflowed, run it with --precision fp32."
                )
            sums.add(logits, *place)

    def _batches(self, reader: StripReader) -> Iterator[_Batch]:
        """Yield batches of tiles, each strip behind its last tile.

        A strip begins a batch of its own, so that a run taken up at any strip asks the engine for the same batches.
        """
        for strip in self._strips_of(reader):
            items: list[Place | Strip] = []
            tiles: list[SceneGroups] = []
            for row in strip.row_starts:
                for column, tile in self._tiles(strip, row):
                    if len(tiles) == self._batch:
                        yield items, _stack(tiles)
                        items, tiles = [], []
                    items.append((row, column))
                    tiles.append(tile)
            yield [*items, strip], _stack(tiles)

    def _strips_of(self, reader: StripReader) -> Iterator[Strip]:
        strips = iter(reader)
        while True:
            with self.clock.time("reading"):
                strip = next(strips, None)
            if strip is None:
                return
            yield strip

    def _tiles(self, strip: Strip, row: int) -> Iterator[tuple[int, SceneGroups]]:
        """Cut one row of tiles; those without a measured pixel in their core are left out."""
        margin, side, core = self._tiling.margin_px, self._tiling.tile_px, self._tiling.core_px
        left, right = int(self._column_starts[0]) - margin, int(self._column_starts[-1]) - margin + side
        pixels = strip.tile_row(row, (left, right), self._tiling, mirrored=True)
        measured = np.any(strip.measured((max(row, 0), min(row + core, self._padded[0]))), axis=0)
        for column in self._column_starts.tolist():
            if not np.any(measured[max(column, 0) : column + core]):
                self.skipped += 1
                continue
            begin = column - margin - left
            yield column, {g: dn[..., _span(begin, side, g)] for g, dn in pixels.items()}

    def _finish(self, strip: Strip, sums: Accumulator, end: int, from_px: int) -> MapRows | None:
        top = strip.row_starts[0]
        first, last = max(top, from_px, 0), min(end, self.height_px)
        with self.clock.time("blending"):
            logits, covered = sums.take(end - top, self.width_px)
        if first >= last:
            return None
        measured = strip.measured((first, last))[:, : self.width_px]
        kept = slice(first - top, last - top)
        logits, extras = logits[: self._classes, kept], logits[self._classes :, kept]
        return MapRows(first, logits, measured & covered[kept], extras)


def _span(begin_px: int, side_px: int, gsd_m: int) -> slice:
    return slice(begin_px * MAP_PIXEL_M // gsd_m, (begin_px + side_px) * MAP_PIXEL_M // gsd_m)


def _stack(tiles: Sequence[SceneGroups]) -> Groups:
    return {gsd_m: np.stack([tile[gsd_m] for tile in tiles]) for gsd_m in tiles[0]} if tiles else {}


def _result(items: list[Place | Strip], call: Future[np.ndarray] | None) -> _Answer:
    return items, np.empty(0, np.float32) if call is None else call.result()
