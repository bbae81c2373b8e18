"""Reading one grid of one raster by windows in metres: alignment, edges, coarser groups by block means, warping."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window

from bandloom.command_line.console import logger
from bandloom.errors import SceneError
from bandloom.rasters.cut_short import open_whole
from bandloom.rasters.projected import projected
from bandloom.rasters.validity import NO_NODATA, Validity
from bandloom.rasters.values import NODATA, SATURATED, valid
from bandloom.shards.scenes.antimeridian import reaches_beyond_180, seen_within_180
from bandloom.shards.scenes.checksums import check_beside
from bandloom.shards.scenes.jp2_on_gpu import jp2_on_gpu
from bandloom.shards.scenes.masked import with_masks_as_nodata
from bandloom.shards.scenes.scene import ALIGN_M, WindowM

_EXACT_PX = 0.01  # GDAL's own choice, an eighth of a pixel, would take neighbours for what lies at a sample's edge
_TURN = 1e-6  # degrees that a corner may lie beyond a pole or the antimeridian by rounding
PACKED = (".gz", ".bz2", ".xz", ".zst")
_SQUARE = 0.01  # pixels may differ from the nominal size by this share (EuroSAT's are 9.97 to 10.01 m)


def open_raster(path: str | Path) -> Any:
    """Open a raster for reading.

    Raises:
        SceneError: it is absent, empty, truncated, no raster, or not what a checksum beside it says.
    """
    text = str(path)
    if not text.startswith("/vsi") and "://" not in text:
        local = Path(path)
        if not local.exists():
            raise SceneError(f"{path} does not exist; check the path.")
        if local.is_file() and local.stat().st_size == 0:
            raise SceneError(f"{path} is empty (0 bytes); fetch it again.")
        if local.is_dir() and (told := zarr_advice(local)) is not None:
            raise SceneError(told)
        if local.is_file():
            check_beside(local)
    try:
        raster = open_whole(path)
        if not raster.count:
            with raster:
                raise SceneError(_bandless(path, raster.subdatasets))
        if not reaches_beyond_180(raster):
            return raster
        with raster:
            return seen_within_180(raster)
    except (RasterioError, ValueError) as cause:
        mend = "unpack it first" if text.lower().endswith(PACKED) else "it may be truncated: fetch it again"
        raise SceneError(f"{path} cannot be opened as a raster ({cause}); {mend}.") from cause


def zarr_advice(folder: Path) -> str | None:
    """Return what to do with a folder that is a Zarr store of arrays without a product's names; None: it is none."""
    if not any((folder / name).is_file() for name in (".zgroup", ".zarray", ".zmetadata", "zarr.json")):
        return None
    inside = sorted(child.name for child in folder.iterdir() if child.is_dir())
    named = f"/{inside[0]}" if inside else ""
    return (
        f"{folder} is a Zarr store and no product that is known; write the array that is meant as GeoTIFF first, such"
        f" as gdal_translate 'ZARR:\"{folder}\":{named or '/'}' NAME.tif."
    )


def _bandless(path: str | Path, inside: Sequence[str]) -> str:
    if not inside:
        return f"{path} holds no raster; name a file of bands."
    return (
        f"{path} is a container of {len(inside)} data sets without bands of its own; write those that are meant as"
        f" GeoTIFF first, such as gdal_translate '{inside[0]}' NAME.tif."
    )


def read_raster(raster: Any, path: str | Path, **arguments: Any) -> np.ndarray:
    """Read pixels, turning a damaged file into a :class:`SceneError`."""
    try:
        return raster.read(**arguments)
    except RasterioError as cause:
        raise _damaged(path, cause) from cause


def _damaged(path: str | Path, cause: Exception) -> SceneError:
    return SceneError(f"{path} cannot be read ({cause}); it is truncated or damaged: fetch it again.")


def utm_of(longitude: float, latitude: float) -> CRS:
    """Return the UTM zone's coordinate system of a place."""
    longitude = longitude if -180 <= longitude <= 180 else (longitude + 180) % 360 - 180
    zone = min(60, max(1, math.floor((longitude + 180) / 6) + 1))
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def zones_of(raster: Any) -> list[CRS]:
    """Return the UTM zone in which a raster's centre lies, then its neighbours, whose grids reach beyond their edge."""
    west, south, east, north = transform_bounds(raster.crs, "EPSG:4326", *_bounds(raster))
    east += 360 if east < west else 0  # across the antimeridian
    longitude, latitude = ((west + east) / 2 + 180) % 360 - 180, (south + north) / 2
    return [utm_of((longitude + shift + 180) % 360 - 180, latitude) for shift in (0, 6, -6)]


def utm_anchor_m(crs: CRS) -> int:
    """Return the northing that Sentinel-2's tiles, and so its 10, 20 and 60 m samples, count from: the equator's."""
    return 10_000_000 if (crs.to_epsg() or 0) > 32700 else 0


def is_utm(crs: CRS) -> bool:
    """Tell whether a coordinate system is WGS 84 / UTM."""
    code = crs.to_epsg()
    return code is not None and (32601 <= code <= 32660 or 32701 <= code <= 32760)


@dataclass(frozen=True)
class Frame:
    """Where a scene lies: a metric coordinate system, its upper-left corner and its size in metres."""

    crs: CRS
    x_m: float
    y_m: float
    width_m: float
    height_m: float

    @property
    def footprint(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees."""
        bounds = (self.x_m, self.y_m - self.height_m, self.x_m + self.width_m, self.y_m)
        west, south, east, north = transform_bounds(self.crs, "EPSG:4326", *bounds)
        return west, south, east, north


def frame_of(raster: Any, path: str | Path, zone: CRS | None = None) -> tuple[Frame, bool]:
    """Return a raster's frame, and whether it must be warped to UTM to have one.

    Args:
        raster: open.
        path: for messages.
        zone: the UTM zone to warp to; None: the one its centre lies in. The frame then lies on Sentinel-2's grid.

    Raises:
        SceneError: it has no coordinate system, or is turned or upside down in a metric one.
    """
    t = raster.transform
    if raster.crs is None or t.is_identity:
        raise _without_place(raster, path)
    if is_utm(raster.crs):
        if t.b or t.d or t.a <= 0 or t.e >= 0:
            raise SceneError(f"{path} is not north-up (transform {tuple(t)[:6]}); warp it with gdalwarp first.")
        pixel_m = square_gsd_m(t, path)
        _check_reach(raster, CRS.from_epsg(4326), path)
        return Frame(raster.crs, t.c, t.f, raster.width * pixel_m, raster.height * pixel_m), False
    try:
        zone = zone or zones_of(raster)[0]
        left, bottom, right, top = transform_bounds(raster.crs, zone, *_bounds(raster))
    except Exception as cause:  # GDAL's errors have no public class
        raise _out_of_reach(raster, path) from cause
    _check_reach(raster, zone, path)
    anchor_m = utm_anchor_m(zone)
    x_m, y_m = math.floor(left / ALIGN_M) * ALIGN_M, anchor_m + math.ceil((top - anchor_m) / ALIGN_M) * ALIGN_M
    width, height = math.ceil((right - x_m) / ALIGN_M) * ALIGN_M, math.ceil((y_m - bottom) / ALIGN_M) * ALIGN_M
    return Frame(zone, x_m, y_m, width, height), True


def _check_reach(raster: Any, target: CRS, path: str | Path) -> None:
    """Refuse a raster whose middle does not come back from another coordinate system, or that lies beyond the earth."""
    west, south, east, north = _bounds(raster)
    turned = raster.crs.is_geographic and (west < -180 - _TURN or east > 180 + _TURN or max(-south, north) > 90 + _TURN)
    middle = np.array([[(west + east) / 2], [(south + north) / 2]])
    back = np.array(projected(target, raster.crs, *projected(raster.crs, target, *middle)))
    if turned or not (np.abs(back - middle) < abs(raster.transform.a)).all():
        raise _out_of_reach(raster, path)


def _out_of_reach(raster: Any, path: str | Path) -> SceneError:
    west, south, east, north = _bounds(raster)
    return SceneError(
        f"{path} lies from {west:g} to {east:g} across and {south:g} to {north:g} down, where its coordinate system"
        f" {raster.crs.to_string()[:60]} does not reach; mend its corner (gdal_edit.py -a_ullr WEST NORTH EAST SOUTH"
        " FILE)."
    )


def _without_place(raster: Any, path: str | Path) -> SceneError:
    points, crs = raster.gcps
    if points:
        target = f"gdalwarp -t_srs EPSG:{_utm_of_points(points, crs)} {path} OUT.tif"
        return SceneError(f"{path} lies by {len(points)} ground control points alone; warp it first: {target}.")
    if raster.rpcs is not None:
        return SceneError(f"{path} lies by a sensor model (RPC) alone; warp it first: gdalwarp -rpc {path} OUT.tif.")
    if raster.crs is None:
        return SceneError(f"{path} has no coordinate system; assign one (gdal_edit.py -a_srs EPSG:... FILE).")
    return SceneError(
        f"{path} names a coordinate system but not its corner; give it one (gdal_edit.py -a_ullr WEST NORTH EAST SOUTH"
        " FILE)."
    )


def _utm_of_points(points: Sequence[Any], crs: CRS | None) -> int | str:
    """Return the code of the UTM zone that ground control points lie in, or a placeholder where nobody can say."""
    if crs is None:
        return "326ZONE"
    x, y = (sum(getattr(point, axis) for point in points) / len(points) for axis in "xy")
    longitudes, latitudes, *_ = transform(crs, "EPSG:4326", [x], [y])
    return utm_of(longitudes[0], latitudes[0]).to_epsg() or "326ZONE"


def _bounds(raster: Any) -> tuple[float, float, float, float]:
    left, bottom, right, top = array_bounds(raster.height, raster.width, raster.transform)
    return min(left, right), min(bottom, top), max(left, right), max(bottom, top)


def square_gsd_m(transform: Affine, path: str | Path) -> float:
    """Return the whole or half metre that the sides of a raster's pixels stand for.

    Raises:
        SceneError: they are more than one per cent from any, or the two sides differ.
    """
    across, down = nominal_gsd_m(transform.a, path), nominal_gsd_m(-transform.e, path)
    if across != down:
        raise SceneError(
            f"{path} has pixels of {across:g} x {down:g} m; expected square ones: resample it first (gdalwarp -tr"
            f" {min(across, down):g} {min(across, down):g} -r near {path} OUT.tif)."
        )
    return across


def nominal_gsd_m(pixel_m: float, path: str | Path) -> float:
    """Return the whole or half metre that a pixel size stands for.

    Raises:
        SceneError: it is more than one per cent from any.
    """
    nominal = round(2 * pixel_m) / 2
    if nominal <= 0 or abs(pixel_m - nominal) > _SQUARE * nominal:
        raise SceneError(f"{path} has pixels of {pixel_m:.3f} m; expected a whole or half metre: resample it first.")
    return nominal


class GridReader:
    """Reads some bands of one raster on one stored grid: as they are, by block means, or through a warp.

    A warp averages where the grid is coarser than the raster and is bilinear otherwise; with ``nearest`` it takes the
    pixel at a sample's centre as it is, so what was copied there comes back, and codes stay codes.

    With ``keeps_rows``, windows over the whole width that follow each other downwards decode every block once: a JP2
    tile takes 50 times as long as a COG's, and a strip of 240 rows crosses each row of 1024-pixel tiles five times.
    """

    def __init__(
        self,
        raster: Any,
        path: str | Path,
        indexes: list[int],
        gsd_m: int,
        frame: Frame,
        warp: bool,
        nearest: bool = False,
        nodata: float | str | None = None,
    ) -> None:
        self.path, self.indexes, self.gsd_m, self.frame = path, indexes, gsd_m, frame
        self.keeps_rows = False
        self._kept: dict[int, np.ndarray] = {}
        self._owned = ExitStack()
        self._validity = Validity(raster, indexes, nodata)
        self.zero_is_absent = _zero_is_absent(raster, self._validity, nodata)
        if warp:
            raster = self._warped(raster, nearest)
            self.factor, pixel_m = 1, float(gsd_m)
        else:
            pixel_m = square_gsd_m(raster.transform, path)
            self.factor = round(gsd_m / pixel_m)
            if self.factor < 1 or abs(self.factor * pixel_m - gsd_m) > 1e-6:
                raise SceneError(
                    f"{path} has pixels of {pixel_m:g} m where its band needs {gsd_m} m or a whole part of it;"
                    " use the product at its full resolution."
                )
            off = max(abs(raster.transform.c - frame.x_m), abs(raster.transform.f - frame.y_m))
            if off > pixel_m / 2:
                raise SceneError(f"{path} lies {off:.1f} m off its scene's corner; align the bands' corners first.")
            if off > _EXACT_PX * pixel_m:
                _say_off(str(path), f"{off:.1f}")
        self.raster, self.pixel_m = raster, pixel_m
        self._on_gpu = None if warp else jp2_on_gpu(raster, indexes)

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return raw pixels ``(C, H, W)`` of a window on the *file's* grid, 0 beyond its edges."""
        x, y, width, height = (round(edge / self.pixel_m) for edge in window_m)
        left, top, right, bottom = self._overlap(x, y, width, height)
        out = np.zeros((len(self.indexes), height, width), self.raster.dtypes[self.indexes[0] - 1])
        if right > left and bottom > top:
            place = out[:, top - y : bottom - y, left - x : right - x]
            if self.keeps_rows and right - left == self.raster.width:
                self._read_rows(place, top, bottom)
            else:
                place[:] = self._read_window(left, top, right, bottom)
        return out

    def measured(self, values: np.ndarray, window_m: WindowM) -> np.ndarray | None:
        """Return ``(C, H, W)`` bool, True where what :meth:`read` gave was measured; None: wherever it is not 0."""
        if self.zero_is_absent and self._validity.by_values_alone and set(self._validity.nodata) <= {None, 0.0}:
            return None if values.dtype.kind in "iu" else np.isfinite(values) & (values != 0)
        x, y, width, height = (round(edge / self.pixel_m) for edge in window_m)
        left, top, right, bottom = self._overlap(x, y, width, height)
        known = np.zeros(values.shape, bool)
        if right > left and bottom > top:
            place = np.s_[:, top - y : bottom - y, left - x : right - x]
            window = Window(left, top, right - left, bottom - top)  # pyright: ignore[reportCallIssue]
            try:
                known[place] = self._validity.of(values[place], window)
            except RasterioError as cause:
                raise _damaged(self.path, cause) from cause
        return known & (values != 0) if self.zero_is_absent else known

    def _overlap(self, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right, bottom of what a window shares with the raster, in pixels."""
        return max(0, x), max(0, y), min(self.raster.width, x + width), min(self.raster.height, y + height)

    def _warped(self, raster: Any, nearest: bool) -> Any:
        """Look through a warp at the raster, or at a copy whose masks are nodata, since a warp follows these alone."""
        told = self._validity.nodata[0]
        if len(set(map(repr, self._validity.nodata))) > 1:
            raise SceneError(
                f"{self.path} has another nodata value in each band ({', '.join(map(str, self._validity.nodata))});"
                " give all one, or name it with --nodata."
            )
        floats = raster.dtypes[self.indexes[0] - 1].startswith("float")
        told = NODATA if told is None and self.zero_is_absent else told
        absent = math.nan if floats else NODATA if told is None else told
        masked = not self._validity.by_values_alone
        if masked or floats:
            raster = self._owned.enter_context(with_masks_as_nodata(raster, told, absent, masked))
        fill = NODATA if self.zero_is_absent and not floats else absent
        seen = self._owned.enter_context(_warp(raster, self.gsd_m, self.frame, nearest, absent, fill))
        self._validity = Validity(seen, self.indexes)
        return seen

    def _read_window(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
        decoded = None if self._on_gpu is None else self._on_gpu.read(left, top, right, bottom)
        if decoded is not None:
            return decoded
        window = Window(left, top, right - left, bottom - top)  # pyright: ignore[reportCallIssue]
        return read_raster(self.raster, self.path, indexes=self.indexes, window=window)

    def _read_rows(self, out: np.ndarray, top: int, bottom: int) -> None:
        """Fill whole rows of pixels by whole rows of blocks, keeping the last one: the next strip begins in it."""
        high = self.raster.block_shapes[self.indexes[0] - 1][0]
        for row in range(top // high, (bottom - 1) // high + 1):
            first, last = row * high, min((row + 1) * high, self.raster.height)
            if row not in self._kept:
                self._kept = {row: self._read_window(0, first, self.raster.width, last)}
            begin, end = max(top, first), min(bottom, last)
            out[:, begin - top : end - top] = self._kept[row][:, begin - first : end - first]

    def inside(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H, W)`` bool on the file's grid, True where a window lies on the raster."""
        x, y, width, height = (round(edge / self.pixel_m) for edge in window_m)
        columns, rows = np.arange(x, x + width), np.arange(y, y + height)
        return np.outer((rows >= 0) & (rows < self.raster.height), (columns >= 0) & (columns < self.raster.width))

    def close(self) -> None:
        """Close the warp, if there is one; the file belongs to the scene."""
        self._owned.close()


@lru_cache  # a scene is opened by every thread that reads it
def _say_off(path: str, off_m: str) -> None:
    logger.warning("%s lies %s m off its scene's corner; its samples are taken as if they began there", path, off_m)


def _zero_is_absent(raster: Any, validity: Validity, told: float | str | None) -> bool:
    """Tell whether 0 means no data, as in every product of unsigned numbers, and where nobody says what else does."""
    if told == NO_NODATA:
        return False
    unsigned = all(raster.dtypes[index - 1].startswith("uint") for index in raster.indexes)
    return unsigned or set(validity.nodata) == {None}


def _warp(raster: Any, gsd_m: int, frame: Frame, nearest: bool, absent: float, fill: float) -> WarpedVRT:
    """Look at a raster through a warp onto the scene's grid; what is ``absent`` in it becomes ``fill``."""
    west, _, east, _ = transform_bounds(raster.crs, frame.crs, *_bounds(raster))
    finer = gsd_m > 1.5 * (east - west) / raster.width
    resampling = Resampling.nearest if nearest else Resampling.average if finer else Resampling.bilinear
    return WarpedVRT(
        raster,
        crs=frame.crs,
        transform=Affine(gsd_m, 0, frame.x_m, 0, -gsd_m, frame.y_m),
        width=round(frame.width_m / gsd_m),
        height=round(frame.height_m / gsd_m),
        resampling=resampling,
        tolerance=_EXACT_PX,
        src_nodata=absent,
        nodata=fill,
        UNIFIED_SRC_NODATA="NO",  # a band's absent sample stays out though another band was measured there
    )


def block_means(dn: np.ndarray, factor: int) -> np.ndarray:
    """Average the measured samples of ``(C, H, W)`` over aligned blocks; copies of one value give that value exactly.

    A block without a measured sample is 0.
    """
    if factor == 1:
        return dn
    if dn.size and dn.min() > NODATA and dn.max() < SATURATED:  # all measured: the same means, six times as fast
        rows = dn[:, ::factor].astype(np.uint32)
        for row in range(1, factor):  # whole rows first: they lie together in memory
            rows += dn[:, row::factor]
        sums = rows[:, :, ::factor].copy()
        for column in range(1, factor):
            sums += rows[:, :, column::factor]
        return ((sums + factor**2 // 2) // factor**2).astype(np.uint16)
    bands, height, width = dn.shape
    blocks = dn.reshape(bands, height // factor, factor, width // factor, factor)
    measured = valid(blocks)
    count = measured.sum((2, 4))
    total = np.where(measured, blocks, 0).sum((2, 4), dtype=np.int64)
    return np.where(count > 0, (total + count // 2) // np.maximum(count, 1), NODATA).astype(np.uint16)
