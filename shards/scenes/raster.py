"""Scenes made of plain rasters: one multi-band file, or a folder of single-band files at their own sampling."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from affine import Affine

from bandloom.errors import SceneError
from bandloom.sensors import Sensor, get_sensor
from bandloom.shards.scenes.bands import band_name, expand_order, names_of_stack, sensor_of
from bandloom.shards.scenes.checksums import glancing
from bandloom.shards.scenes.cloud import CloudLayer, RasterCloud
from bandloom.shards.scenes.copies import copied_groups
from bandloom.shards.scenes.grid import Frame, GridReader, block_means, frame_of, open_raster, read_raster, zones_of
from bandloom.shards.scenes.offset import decide_offset, to_convention
from bandloom.shards.scenes.scene import ALIGN_M, WindowM
from bandloom.validity import alpha_bands, measured
from bandloom.values import valid

RASTER_SUFFIXES = (".tif", ".tiff", ".gtif", ".jp2", ".vrt")
Bands = dict[str, tuple[Any, str, int]]  # name -> (open raster, its path, band index)
_CLOUD_FILES = ("cloud_mask.tif",)
_PROBE_PX = 256
_PROBE_WINDOWS = 4  # along each side


@dataclass(frozen=True)
class Stated:
    """What a product's metadata says of itself: its offset and by what, its time, and facts for the provenance."""

    offset: int | None = None
    offset_from: str = "RADIO_ADD_OFFSET"
    time: datetime | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


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
    ) -> None:
        """Take the open rasters of every band, all closed by ``stack``."""
        self._stack = stack
        self.name, self.sensor = name, sensor
        self.files = {band: (file, index) for band, (_, file, index) in bands.items()}  # where GDAL finds each band
        self._grids = self._open_grids(bands, sensor)
        first = next(iter(bands.values()))[0]
        finest = sensor.groups[0].gsd_m
        self.crs, self.transform = self._frame.crs, Affine(finest, 0, self._frame.x_m, 0, -finest, self._frame.y_m)
        self.width_m, self.height_m, self.footprint = self._frame.width_m, self._frame.height_m, self._frame.footprint
        stated = stated or _stated_by_tags(first.tags())
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
        return block_means(to_convention(values, self._offset, grid.measured(values, window_m)), grid.factor)

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
                GridReader(r, p, ix, group.gsd_m, self._frame, self._warp, nearest) for r, p, ix in runs
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
        """Look at a thinned copy of every band: are these DN at all, and with which offset?"""
        samples = {name: _probe(*bands[name]) for name in (b.name for g in self.sensor.groups for b in g.bands)}
        measured = np.concatenate(list(samples.values()))
        if not measured.size:
            raise SceneError(f"{self.name} is all nodata; leave it out, or check its nodata value.")
        cirrus = next((b.name for b in self.sensor.bands if b.slot == "B10"), None)
        return decide_offset(
            self.name,
            told,
            stated.offset,
            samples[cirrus] if cirrus else None,
            measured,
            self.provenance,
            stated.offset_from,
        )


def open_stack(path: str | Path, sensor: str | None, band_map: Any, offset: int | None) -> RasterScene:
    """Open a multi-band raster whose bands are described, or named by ``band_map``."""
    told = get_sensor(sensor) if sensor else None
    stack = ExitStack()
    try:
        raster = stack.enter_context(open_raster(path))
        alphas = alpha_bands(raster)
        indexes = [index for index in raster.indexes if index not in alphas]
        names = names_of_stack(Path(path), [raster.descriptions[index - 1] for index in indexes], band_map, told)
        found = sensor_of(Path(path), names, told)
        bands = {name: (raster, str(path), index) for index, name in zip(indexes, names, strict=True)}
        return RasterScene(Path(path).stem, str(path), found, bands, stack, offset)
    except BaseException:
        stack.close()
        raise


def band_files(folder: Path, sensor: Sensor | None = None) -> dict[str, Path]:
    """Return the single-band rasters of a folder by band name (of Sentinel-2 unless told); other files are left alone.

    Raises:
        SceneError: two files name the same band.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = band_name(path.stem, sensor) if path.suffix.lower() in RASTER_SUFFIXES else None
        if name in found:
            raise SceneError(f"{folder} holds two files for band {name} ({found[name].name}, {path.name}); keep one.")
        if name:
            found[name] = path
    return found


def open_band_folder(folder: Path, sensor: str | None, band_map: Any, offset: int | None) -> RasterScene:
    """Open a folder of single-band rasters named by band; each is read on its own grid."""
    told = get_sensor(sensor) if sensor else None
    files = band_files(folder, told)
    if band_map is not None:
        wanted = expand_order(band_map, told)
        files = {name: path for name, path in files.items() if name in wanted}
    stack = ExitStack()
    try:
        found = sensor_of(folder, list(files), told)
        bands = {n: (stack.enter_context(open_raster(p)), str(p), 1) for n, p in files.items()}
        mask = next((folder / name for name in _CLOUD_FILES if (folder / name).is_file()), None)
        cloud = RasterCloud(stack.enter_context(open_raster(mask)), str(mask), _marked) if mask else None
        return RasterScene(folder.name, str(folder), found, bands, stack, offset, cloud)
    except BaseException:
        stack.close()
        raise


def _check_same_frame(raster: Any, path: str, frame: Frame, warp: bool) -> None:
    other, warps = frame_of(raster, path, frame.crs)
    if warps != warp or other.crs != frame.crs:
        raise SceneError(f"{path} has another coordinate system than its scene ({raster.crs}); warp the bands to one.")
    if not warp and (abs(other.width_m - frame.width_m) >= ALIGN_M or abs(other.height_m - frame.height_m) >= ALIGN_M):
        raise SceneError(
            f"{path} covers {other.width_m:g} x {other.height_m:g} m where its scene covers {frame.width_m:g} x"
            f" {frame.height_m:g} m; crop all bands to the same ground."
        )


def _probe(raster: Any, path: str, index: int) -> np.ndarray:
    """Return the measured values of a thinned copy of one band.

    Raises:
        SceneError: the values are no DN: floats, NaN, bytes or negative.
    """
    values, known = _thinned(raster, path, index)
    if values.dtype.kind == "f":
        if np.isnan(values).any():
            raise SceneError(f"{path} holds NaN; write uint16 values of 10000 x reflectance (+ 1000), 0 where absent.")
        low, high = float(values.min()), float(values.max())
        raise SceneError(
            f"{path} holds floats from {low:.4g} to {high:.4g}"
            f"{', which look like reflectances of 0..1' if high <= 2 else ''}; write uint16 values of 10000 x"
            " reflectance, and pass --offset 0."
        )
    if values.dtype.itemsize == 1:
        raise SceneError(
            f"{path} holds bytes ({values.dtype}); expected the 16-bit values of the product, not a picture."
        )
    kept = values[valid(values) & known]
    if not kept.size and max(raster.shape) > _PROBE_PX:
        values = read_raster(raster, path, indexes=[index])
        kept = values[valid(values) & measured(raster, values, [index])][::17]
    return kept.astype(np.int64)


def _thinned(raster: Any, path: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a thinned copy of one band and where it was measured, from its overviews, or from squares spread over it.

    Thinning without overviews would decode every block of the file, each time that a scene is opened.
    """
    height, width = raster.shape
    if max(height, width) <= 2 * _PROBE_PX or raster.overviews(index):
        shape = (1, min(height, _PROBE_PX), min(width, _PROBE_PX))
        values = read_raster(raster, path, indexes=[index], out_shape=shape)
        return values.ravel(), measured(raster, values, [index]).ravel()
    side = min(_PROBE_PX // _PROBE_WINDOWS, height, width)
    tops, lefts = (np.linspace(0, length - side, _PROBE_WINDOWS).astype(int).tolist() for length in (height, width))
    windows = [((top, top + side), (left, left + side)) for top in tops for left in lefts]
    squares = [read_raster(raster, path, indexes=[index], window=window) for window in windows]
    known = [measured(raster, values, [index], window) for values, window in zip(squares, windows, strict=True)]
    return np.concatenate([each.ravel() for each in squares]), np.concatenate([each.ravel() for each in known])


def _marked(mask: np.ndarray) -> np.ndarray:
    """Read Major TOM's codes, which ours share: 1 thick cloud, 2 thin cloud, 3 shadow."""
    return np.isin(mask[0], (1, 2))


def _stated_by_tags(tags: dict[str, str]) -> Stated:
    offset = tags.get("RADIO_ADD_OFFSET")
    return Stated(None if offset is None else int(float(offset)), time=_time_of(tags))


def _time_of(tags: dict[str, str]) -> datetime | None:
    for key in ("ACQUISITION_TIME", "datetime", "date", "TIFFTAG_DATETIME"):
        text = tags.get(key, "").replace("Z", "+00:00")
        for parse in (datetime.fromisoformat, lambda t: datetime.strptime(t, "%Y:%m:%d %H:%M:%S")):
            try:
                time = parse(text)
            except ValueError:
                continue
            return time if time.tzinfo else time.replace(tzinfo=UTC)
    return None
