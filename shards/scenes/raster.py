"""A scene over open rasters: each group of bands on its own grid, offset and validity decided when it is opened."""

from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
from affine import Affine

from bandloom.command_line.console import logger
from bandloom.errors import SceneError
from bandloom.rasters.validity import can_hold
from bandloom.rasters.values import OFFSET, SCALE
from bandloom.sensors import Sensor
from bandloom.shards.scenes.checksums import glancing
from bandloom.shards.scenes.cloud import CloudLayer
from bandloom.shards.scenes.copies import copied_groups
from bandloom.shards.scenes.decided import decided_once
from bandloom.shards.scenes.grid import Frame, GridReader, block_means, frame_of, zones_of
from bandloom.shards.scenes.offset import decide_offset, to_convention
from bandloom.shards.scenes.probe import check_lost_nodata, check_lowest, check_reflectance, probe
from bandloom.shards.scenes.scene import ALIGN_M, WindowM
from bandloom.shards.scenes.stated import Stated, stated_by_tags

Bands = dict[str, tuple[Any, str, int]]  # name -> (open raster, its path, band index)


class RasterScene:
    """A scene over open rasters; see :class:`bandloom.shards.scenes.Scene`."""

    def __init__(
        self,
        name: str,
        path: str,
        sensor: Sensor,
        bands: Bands,
        stack: ExitStack,
        offset: int | None,
        cloud: CloudLayer | None = None,
        stated: Stated | None = None,
        nodata: float | str | None = None,
    ) -> None:
        """Take the open rasters of every band, all closed by ``stack``."""
        self._stack, self._nodata = stack, nodata
        self.name, self.sensor = name, sensor
        _warn_of_nodata(name, nodata, bands)
        self.files = {band: (file, index) for band, (_, file, index) in bands.items()}  # where GDAL finds each band
        self._grids = self._open_grids(bands, sensor)
        first = next(iter(bands.values()))[0]
        finest = sensor.groups[0].gsd_m
        self.crs, self.transform = self._frame.crs, Affine(finest, 0, self._frame.x_m, 0, -finest, self._frame.y_m)
        self.width_m, self.height_m, self.footprint = self._frame.width_m, self._frame.height_m, self._frame.footprint
        stated = stated or stated_by_tags(first)
        self.datetime = stated.time
        self.provenance: dict[str, Any] = {"source": path, "sensor": sensor.name} | stated.provenance
        if self._warp:
            self.provenance["warped_from"] = first.crs.to_string()
            self.provenance["own_samples"] = list(self._copied)  # GSDs whose samples were taken back unchanged
        if min(self.width_m, self.height_m) < ALIGN_M:
            raise SceneError(
                f"{name} is {self.width_m:g} x {self.height_m:g} m, smaller than a token; it needs 60 x 60 m."
            )
        self._glanced = glancing()
        self._offset = 0 if self._glanced else self._check_values(bands, offset, stated)
        self._cloud = cloud
        if cloud is not None:
            cloud.place(self._frame, self._warp)

    def read(self, window_m: WindowM) -> dict[int, np.ndarray]:
        """Return ``{gsd_m: (C, H, W)}`` uint16 DN of a window; what lies outside the scene is 0."""
        if self._glanced:
            raise RuntimeError(f"{self.name} was opened at a glance; its values are not checked")
        groups = {}
        for gsd_m, grids in self._grids.items():
            parts = [self._samples(grid, window_m) for grid in grids]
            groups[gsd_m] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return groups

    def _samples(self, grid: GridReader, window_m: WindowM) -> np.ndarray:
        values = grid.read(window_m)
        known = grid.measured(values, window_m)
        if values.dtype.kind == "i":
            check_lowest(self.name, values if known is None else values[known], -OFFSET - self._offset)
        return block_means(to_convention(values, self._offset, known), grid.factor)

    def cloud(self, window_m: WindowM) -> np.ndarray | None:
        """Return ``(H10, W10)`` bool, True under cloud, or None when the source does not say."""
        return None if self._cloud is None else self._cloud.read(window_m)

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom: every block of the files is then decoded once."""
        for grids in self._grids.values():
            for grid in grids:
                grid.keeps_rows = True
        if self._cloud is not None:
            self._cloud.walk_down()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> "RasterScene":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_grids(self, bands: Bands, sensor: Sensor) -> dict[int, list[GridReader]]:
        """Pair every group with its files, in band order; neighbours in one file are read together."""
        finest = sensor.groups[0].bands[0].name
        self._frame, self._warp = frame_of(*bands[finest][:2])
        self._copied: tuple[int, ...] = ()
        if self._warp:
            self._look_for_copies(bands, sensor)
        grids: dict[int, list[GridReader]] = {}
        for group in sensor.groups:
            runs: list[tuple[Any, str, list[int]]] = []
            for band in group.bands:
                raster, path, index = bands[band.name]
                if runs and runs[-1][0] is raster:
                    runs[-1][2].append(index)
                else:
                    runs.append((raster, path, [index]))
            for raster, path, _ in runs:
                _check_same_frame(raster, path, self._frame, self._warp)
            nearest = group.gsd_m in self._copied
            grids[group.gsd_m] = [
                GridReader(r, p, ix, group.gsd_m, self._frame, self._warp, nearest, self._nodata) for r, p, ix in runs
            ]
            for grid in grids[group.gsd_m]:
                self._stack.callback(grid.close)
        return grids

    def _look_for_copies(self, bands: Bands, sensor: Sensor) -> None:
        """Warp to the zone whose own samples the pixels copy, if there is one, and remember which groups do."""
        firsts = {group.gsd_m: bands[group.bands[0].name] for group in sensor.groups}
        raster, path, _ = firsts[sensor.groups[0].gsd_m]
        for zone in zones_of(raster):
            self._copied = copied_groups(firsts, zone)
            if self._copied:
                self._frame, _ = frame_of(raster, path, zone)
                return

    def _check_values(self, bands: Bands, told: int | None, stated: Stated) -> int:
        """Look at a thinned copy of every band, once while its files stay as they are."""
        files, used = [file for _, file, _ in bands.values()], sorted((b, f, i) for b, (_, f, i) in bands.items())
        asked = (self.name, repr(self.sensor), tuple(used), told, stated.offset, stated.offset_from, self._nodata)
        offset, said = decided_once(files, asked, partial(self._decide, bands, told, stated))
        self.provenance.update(said)
        return offset

    def _decide(self, bands: Bands, told: int | None, stated: Stated) -> tuple[int, dict[str, Any]]:
        """Can this be reflectance, and with which offset? Returns it, and what to say of it."""
        said: dict[str, Any] = {}
        samples = self._probed(bands)
        measured = {band: values[np.isfinite(values)] for band, values in samples.items()}
        everything = np.concatenate(list(measured.values()))
        cirrus = next((b.name for b in self.sensor.bands if b.slot == "B10"), None)
        b10 = measured[cirrus] if cirrus else None
        offset = decide_offset(self.name, told, stated.offset, b10, everything, said, stated.offset_from)
        check_lost_nodata(self.name, samples, -OFFSET - offset, self._nodata)
        reflectance = {band: (values + offset) / SCALE for band, values in measured.items()}
        check_reflectance(self.name, self.sensor, reflectance, said["offset_from"], offset == 0)
        return offset, said

    def _probed(self, bands: Bands, scaled: bool = False) -> dict[str, np.ndarray]:
        """Return thinned samples of every band in use.

        Raises:
            SceneError: they are no numbers of reflectance, or all absent.
        """
        used = [band.name for group in self.sensor.groups for band in group.bands]
        samples = {name: probe(*bands[name], self._nodata, scaled) for name in used}
        if not any(np.isfinite(values).any() for values in samples.values()):
            raise SceneError(f"{self.name} is all nodata or NaN; leave it out, or check its nodata value.")
        return samples


def _check_same_frame(raster: Any, path: str, frame: Frame, warp: bool) -> None:
    other, warps = frame_of(raster, path, frame.crs)
    if warps != warp or other.crs != frame.crs:
        raise SceneError(f"{path} has another coordinate system than its scene ({raster.crs}); warp the bands to one.")
    if not warp and (abs(other.width_m - frame.width_m) >= ALIGN_M or abs(other.height_m - frame.height_m) >= ALIGN_M):
        raise SceneError(
            f"{path} covers {other.width_m:g} x {other.height_m:g} m where its scene covers {frame.width_m:g} x"
            f" {frame.height_m:g} m; crop all bands to the same ground."
        )


def _warn_of_nodata(name: str, nodata: float | str | None, bands: Bands) -> None:
    """Say so where the user names a value that no band can hold."""
    if not isinstance(nodata, float):
        return
    types = {np.dtype(raster.dtypes[index - 1]) for raster, _, index in bands.values()}
    if not any(can_hold(dtype, nodata) for dtype in types):
        held = ", ".join(sorted(map(str, types)))
        logger.warning("%s holds %s, which cannot be --nodata %g: no sample is absent by it", name, held, nodata)
