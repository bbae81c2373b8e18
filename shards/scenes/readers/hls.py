"""Harmonized Landsat and Sentinel-2 (HLS 2.0), L30 and S30: a folder of one GeoTIFF a band at 30 m, and Fmask.

Values are int16, ``10000 * reflectance`` without an offset, -9999 absent; cloud is Fmask's bit 1 (HLS User Guide 2.0,
tables 9 and 12). Cirrus and water vapour bands are not surface reflectance and stay unused.
"""

import re
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bandloom.errors import SceneError
from bandloom.sensors import get_sensor
from bandloom.shards.scenes.cloud import RasterCloud
from bandloom.shards.scenes.grid import open_raster
from bandloom.shards.scenes.raster import Bands
from bandloom.shards.scenes.scaled import ScaledScene
from bandloom.shards.scenes.stated import Stated

_FILE = re.compile(r"^(HLS\.([LS]30)\.T\w{5}\.(\d{7}T\d{6})\.v\d\.\d)\.(B\w\w|Fmask)\.tif$")
HLS_ABSENT = -9999
HLS_SCALING = (1e-4, 0.0)
_CLOUD_BIT, _FILL = 0b10, 255


def is_hls(path: Path) -> bool:
    """Tell whether a folder holds the bands of an HLS granule."""
    return path.is_dir() and any(_FILE.match(file.name) for file in path.iterdir())


def open_hls(path: Path) -> ScaledScene:
    """Open a granule.

    Raises:
        SceneError: a band is missing or damaged, or the folder holds several granules.
    """
    files = {match.group(4): match for file in sorted(path.iterdir()) if (match := _FILE.match(file.name))}
    names = {match.group(1) for match in files.values()}
    if len(names) != 1:
        raise SceneError(f"{path} holds {len(names)} HLS granules; expected one: give each a folder.")
    kind, time = next(iter(files.values())).group(2, 3)
    sensor = get_sensor(f"hls-{kind.lower()}")
    used = [band.name for band in sensor.bands if band.slot]
    missing = [band for band in used if band not in files]
    if missing:
        raise SceneError(f"{path} lacks the band {missing[0]} of HLS {kind}; fetch the granule again.")
    stack = ExitStack()
    try:
        paths = {band: path / files[band].group(0) for band in used}
        bands: Bands = {band: (stack.enter_context(open_raster(file)), str(file), 1) for band, file in paths.items()}
        stated = Stated(0, "HLS has none", _time(time), {"product": next(iter(names))})
        cloud = None
        if "Fmask" in files:
            mask = path / files["Fmask"].group(0)
            cloud = RasterCloud(stack.enter_context(open_raster(mask)), str(mask), fmask_cloud)
        scaling = dict.fromkeys(used, HLS_SCALING)
        name = next(iter(names)).replace(".", "_")
        return ScaledScene(name, str(path), sensor, bands, stack, stated, scaling, absent=HLS_ABSENT, cloud=cloud)
    except BaseException:
        stack.close()
        raise


def fmask_cloud(mask: np.ndarray) -> np.ndarray:
    """Tell cloud in HLS's quality layer, ``(1, H, W)``."""
    return ((mask[0] & _CLOUD_BIT) != 0) & (mask[0] != _FILL)


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y%jT%H%M%S").replace(tzinfo=UTC)
