"""One interface over every kind of scene; base dependencies alone, so that the GPU box reads scenes too."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rasterio.errors import RasterioError

from bandloom.errors import SceneError
from bandloom.sensors import Sensor, get_sensor
from bandloom.shards.scenes.bands import expand_order
from bandloom.shards.scenes.grid import zarr_advice
from bandloom.shards.scenes.options import SceneOptions
from bandloom.shards.scenes.readers.dimap import dimap_file, open_dimap
from bandloom.shards.scenes.readers.eopf import is_eopf, open_eopf
from bandloom.shards.scenes.readers.hls import is_hls, open_hls
from bandloom.shards.scenes.readers.landsat import is_landsat, open_landsat
from bandloom.shards.scenes.readers.plain import RASTER_SUFFIXES, band_files, open_band_folder, open_stack
from bandloom.shards.scenes.readers.product import PACKED
from bandloom.shards.scenes.readers.safe import is_safe, open_safe
from bandloom.shards.scenes.readers.stac import open_stac, stac_file
from bandloom.shards.scenes.scene import ALIGN_M, Scene, WalkedScene, WindowM
from bandloom.shards.scenes.taken import warn_of_time

__all__ = ["ALIGN_M", "Scene", "SceneOptions", "WalkedScene", "WindowM", "is_scene", "open_scene"]


def is_scene(path: Path, sensor: str | None = None) -> bool:
    """Tell whether a local path is itself a scene, by its name and what lies right inside (bands of ``sensor``)."""
    if is_eopf(path) or is_safe(path) or is_landsat(path) or is_hls(path) or dimap_file(path) or stac_file(path):
        return True
    if path.is_dir():
        return bool(band_files(path, _told(sensor)))
    return path.suffix.lower() in RASTER_SUFFIXES


def open_scene(
    path: str | Path,
    options: SceneOptions | None = None,
    *,
    sensor: str | None = None,
    band_map: Sequence[str] | str | None = None,
    offset: int | None = None,
    scale: str | None = None,
    nodata: str | float | None = None,
    bands: str | None = None,
) -> Scene:
    """Open a scene: a Sentinel-2, Landsat, HLS or THEOS product, a multi-band raster, or a folder of band rasters.

    Args:
        path: the file or folder; paths that GDAL reads (/vsis3, /vsicurl, /vsizip) pass through.
        options: what the user says of the scene; None: what the other arguments say, each as in
            :class:`SceneOptions`.
        sensor: a sensor's name or YAML record; recognised from the bands when it is a Sentinel-2 set.
        band_map: band names in file order, or a known order's name (l1c, l2a, eurosat), for files that do not say.
        offset: 0 or -1000, what to add to stored values to get 10000 x reflectance; None: the tag, or B10, decides.
        scale: ``GAIN`` or ``GAIN,OFFSET`` from stored values to reflectance.
        nodata: the value that stands for absent, or ``none``.
        bands: the bands to read, with commas; or each with a minus, those to leave out.

    Raises:
        SceneError: it cannot be read as what it claims to be.
        SensorError: the sensor or a band is not known.
    """
    options = options or SceneOptions(sensor, band_map, offset, scale, nodata, bands)
    options.check()
    try:
        scene = _open(path, options)
    except (RasterioError, ValueError, OverflowError, MemoryError) as cause:  # GDAL's words on headers that lie
        said = " ".join(str(cause).split()) or type(cause).__name__
        raise SceneError(f"{path} cannot be understood ({said}); it is damaged: fetch it again.") from cause
    warn_of_time(scene)
    return scene


def _open(path: str | Path, options: SceneOptions) -> Scene:
    local, told = Path(path), get_sensor(options.sensor) if options.sensor else None
    if is_eopf(path):
        with _as_product(options, path, "an EOPF product"):
            return open_eopf(path)
    if is_safe(local):
        with _as_product(options, path, "a Sentinel-2 product"):
            return open_safe(path)
    if is_landsat(local):
        with _as_product(options, path, "a Landsat product"):
            return open_landsat(local)
    if is_hls(local):
        with _as_product(options, path, "an HLS product"):
            return open_hls(local)
    if dimap_file(local) is not None:
        order = None if options.band_map is None else expand_order(options.band_map, told)
        with _as_product(options, path, "a THEOS product"):
            return open_dimap(local, options.sensor, order)
    if stac_file(local) is not None:
        with _as_product(options, path, "a STAC item", takes_offset=True):
            return open_stac(local, options.offset)
    if local.is_dir():
        if not band_files(local, told):
            raise SceneError(
                zarr_advice(local)
                or f"{path} is a folder without band rasters (B02.tif, ..._B8A.jp2); name the scene itself."
            )
        return open_band_folder(local, options)
    if local.is_file() and local.name.lower().endswith(PACKED):
        raise SceneError(f"{path} holds no Sentinel-2 or Landsat product; unpack it and name the folder.")
    return open_stack(path, options)


@contextmanager
def _as_product(options: SceneOptions, path: str | Path, what: str, *, takes_offset: bool = False) -> Iterator[None]:
    """Open a product, which takes no options; advice to pass one says where it can be passed.

    Raises:
        SceneError: an option was given that it does not take, or what opening it raises.
    """
    _require_unsaid(options, path, what)
    try:
        yield
    except SceneError as cause:
        untaken = "scale|nodata|bands" if takes_offset else "scale|nodata|bands|offset"
        advised = re.search(rf"(?:[Pp]ass|decide with) (--(?:{untaken}))\b", str(cause))
        if advised is None:
            raise
        raise SceneError(
            f"{str(cause).removesuffix('.')}; {what} itself takes no {advised[1]}: name a folder of links to its band"
            " images (of a .SAFE of Level-1C: its IMG_DATA)."
        ) from cause


def _require_unsaid(options: SceneOptions, path: str | Path, what: str) -> None:
    """Refuse options that would change values or bands of a product, which states its own.

    A sensor, an order of bands or an offset may be said of many scenes at once, for those of them that do not say.

    Raises:
        SceneError: one of them was given.
    """
    for name in ("scale", "nodata", "bands"):
        if getattr(options, name) is not None:
            raise SceneError(
                f"{path} is {what}, which states its own values and bands: leave --{name} out, or name a folder of"
                " links to its band images."
            )


def _told(sensor: str | None) -> Sensor | None:
    return get_sensor(sensor) if sensor else None
