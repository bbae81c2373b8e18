"""STAC items on disk: which asset is which band, and how it scales, from the item alone.

The offset of Sentinel-2 is the trap of catalogues: Earth Search states ``offset -0.1`` on files from which it has been
taken already, and says so by ``earthsearch:boa_offset_applied``. That flag wins; then the offset that the asset states;
then the processing baseline (04.00 and later add 1000). Landsat's scaling and masks are those of its own reader. Needs
pystac.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.errors import SceneError
from bandloom.sensors import SLOTS, Sensor, get_sensor
from bandloom.shards.scenes.bands import sentinel2_name
from bandloom.shards.scenes.checksums import check_beside, check_multihash
from bandloom.shards.scenes.cloud import RasterCloud
from bandloom.shards.scenes.grid import open_raster
from bandloom.shards.scenes.landsat import LandsatScene, reflectance_scaling
from bandloom.shards.scenes.raster import Bands, RasterScene, Stated
from bandloom.shards.scenes.scaled import Scaling
from bandloom.values import OFFSET, SCALE

SCENE_KEYS = ("scl", "SCL", "qa_pixel", "qa_radsat")  # masks of cloud, fill and saturation
ITEM = "item.json"  # what an item is called inside its scene's folder
_LIMIT_BYTES = 4 * 2**20
_SLOT_OF = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "rededge071": "B05",
    "rededge075": "B06",
    "rededge078": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
}
_SCL_CLOUD = (8, 9, 10)
_FIRST_WITH_OFFSET = 4.0


def stac_file(path: Path) -> Path | None:
    """Return the item's file, given that file or its scene's folder; None when there is no STAC item."""
    file = path / ITEM if path.is_dir() else path
    if file.suffix != ".json" or not file.is_file() or file.stat().st_size > _LIMIT_BYTES:
        return None
    text = file.read_text(errors="replace")
    return file if '"stac_version"' in text and '"assets"' in text else None


def open_stac(path: Path, offset: int | None = None) -> RasterScene:
    """Open an item with its assets, on disk or wherever GDAL reads.

    Raises:
        SceneError: it is no item of Sentinel-2 or Landsat 8/9, or lacks a band, a scale or a file.
    """
    file = stac_file(path)
    if file is None:
        raise SceneError(f"{path} is no STAC item; expected a .json with stac_version and assets.")
    item = _item(file)
    assets = _bands_of(item["assets"])
    sensor = _sensor(item, set(assets), file)
    wanted = {band.name: band.slot for band in sensor.bands if band.slot}
    missing = [name for name, slot in wanted.items() if slot not in assets]
    if missing:
        raise SceneError(
            f"{file} has no asset for band {missing[0]} of {sensor.name}; fetch the item with all its bands."
        )
    chosen = {name: assets[slot] for name, slot in wanted.items()}
    stack = ExitStack()
    try:
        bands: Bands = {}
        for name, asset in chosen.items():
            place = _place(asset, file)
            bands[name] = (stack.enter_context(open_raster(place)), place, 1)
        stated, name = _stated(item, chosen, sensor), re.sub(r"[^A-Za-z0-9_-]+", "-", str(item["id"]))
        if sensor.name.startswith("landsat"):
            scaling = _scaling(item, chosen, sensor, file)
            marks = {key.upper(): mask for key in ("qa_pixel", "qa_radsat") if (mask := _mask(item, key, file, stack))}
            if "QA_PIXEL" not in marks:
                raise SceneError(f"{file} has no asset qa_pixel, which tells fill and cloud; fetch the item with it.")
            return LandsatScene(name, str(path), sensor, bands, stack, stated, scaling, marks)
        mask = _mask(item, "scl", file, stack) or _mask(item, "SCL", file, stack)
        cloud = RasterCloud(*mask, _scl_cloud) if mask else None
        return RasterScene(name, str(path), sensor, bands, stack, offset, cloud, stated)
    except BaseException:
        stack.close()
        raise


def _item(file: Path) -> dict[str, Any]:
    """Read an item, brought to the newest version of STAC, with absolute places."""
    try:
        import pystac
    except ImportError as cause:
        raise SceneError(
            f"{file} is a STAC item, which needs pystac; install it with: pip install 'bandloom[fetch]'."
        ) from cause
    check_beside(file)
    try:
        item = pystac.Item.from_dict(json.loads(file.read_text()), href=str(file.resolve()))
        item.make_asset_hrefs_absolute()
        return item.to_dict(include_self_link=False, transform_hrefs=False)
    except Exception as cause:  # pystac's errors on strange items are of no one family
        raise SceneError(f"{file} is no readable STAC item ({cause!r}); fetch it again.") from cause


def band_assets(assets: Mapping[str, Any]) -> list[str]:
    """Return the keys of the assets that hold one band each."""
    return list(_keys_of(assets).values())


def _bands_of(assets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {slot: assets[key] for slot, key in _keys_of(assets).items()}


def _keys_of(assets: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys of the assets of one band each by slot; where two hold a band, the one that is no JP2."""
    found: dict[str, str] = {}
    for key, asset in sorted(assets.items(), key=_jp2_last):
        described = _described(asset)
        if len(described) > 1 or "overview" in asset.get("roles", []) or "thumbnail" in asset.get("roles", []):
            continue
        told = described[0] if described else {}
        names = (told.get("name"), key, told.get("eo:common_name"), told.get("common_name"))
        slot = next((s for name in names if name and (s := _slot(str(name)))), None)
        if slot is not None:
            found.setdefault(slot, key)
    return found


def _jp2_last(pair: tuple[str, Mapping[str, Any]]) -> tuple[bool, str]:
    return ".jp2" in str(pair[1]["href"]).lower(), pair[0]


def _described(asset: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return asset.get("bands") or asset.get("eo:bands") or []


def _slot(name: str) -> str | None:
    name = name.removesuffix("-jp2")
    if re.fullmatch(r"B(\d\d?|8A)", name, re.IGNORECASE):
        return sentinel2_name(name)
    return _SLOT_OF.get(name.lower())


def _sensor(item: Mapping[str, Any], slots: set[str], file: Path) -> Sensor:
    facts = item["properties"]
    platform = str(facts.get("platform") or facts.get("constellation") or "").lower()
    if platform.startswith("sentinel-2"):
        return get_sensor("sentinel2-l1c" if set(SLOTS) <= slots else "sentinel2-l2a")
    if platform in ("landsat-8", "landsat-9"):
        level = str(facts.get("landsat:correction") or item.get("collection") or "").lower()
        return get_sensor("landsat89-l2" if "l2" in level else "landsat89-l1")
    raise SceneError(f"{file} is of the platform {platform or 'unknown'}; expected sentinel-2 or landsat-8/9.")


def _place(asset: Mapping[str, Any], file: Path) -> str:
    """Return where GDAL finds an asset; a local one is held against the checksum that the item states."""
    href = str(asset["href"])
    for scheme, prefix in (("s3://", "/vsis3/"), ("gs://", "/vsigs/"), ("http", "/vsicurl/http")):
        if href.startswith(scheme):
            return prefix + href.removeprefix(scheme)
    local = Path(href.removeprefix("file://"))
    if "file:checksum" in asset and local.is_file():
        check_multihash(local, str(asset["file:checksum"]), f"the file:checksum in {file.name}")
    return str(local)


def _stated(item: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]], sensor: Sensor) -> Stated:
    facts = item["properties"]
    sun = {"sun_degrees": {"elevation": facts["view:sun_elevation"]}} if "view:sun_elevation" in facts else {}
    time = facts.get("datetime") or facts.get("start_datetime")
    when = datetime.fromisoformat(time.replace("Z", "+00:00")) if time else None
    offset, why = _offset(facts, chosen)
    told = {"product": item["id"], "processing_baseline": _baseline(facts)} | sun
    return Stated(offset, why, when if when is None or when.tzinfo else when.replace(tzinfo=UTC), told)


def _offset(facts: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> tuple[int | None, str]:
    """Return the radiometric offset that an item of Sentinel-2 states, and by what; None when it says nothing."""
    if facts.get("earthsearch:boa_offset_applied") is True:
        return 0, "earthsearch:boa_offset_applied"
    stated = {round(float(each[1]) * SCALE) for each in (_scale(asset) for asset in chosen.values()) if each}
    if len(stated) == 1:
        return stated.pop(), "the assets' raster offset"
    baseline = _baseline(facts)
    if baseline is not None and re.fullmatch(r"\d\d?\.\d\d", str(baseline)):
        return (-OFFSET if float(baseline) >= _FIRST_WITH_OFFSET else 0), "the item's processing baseline"
    return None, "the item"


def _baseline(facts: Mapping[str, Any]) -> Any:
    return facts.get("s2:processing_baseline") or facts.get("processing:version")


def _scale(asset: Mapping[str, Any]) -> tuple[float, float] | None:
    told = (asset.get("raster:bands") or [{}])[0] | {
        key.removeprefix("raster:"): value
        for key, value in (*asset.items(), *(_described(asset) or [{}])[0].items())
        if key in ("raster:scale", "raster:offset")
    }
    return (float(told["scale"]), float(told.get("offset", 0))) if "scale" in told else None


def _scaling(item: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]], sensor: Sensor, file: Path) -> Scaling:
    """Return gain and offset to reflectance for every band of Landsat; level 1 needs the sun's elevation as well."""
    level = "1" if sensor.reflectance == "toa" else "2"
    elevation = item["properties"].get("view:sun_elevation")
    if level == "1" and elevation is None:
        raise SceneError(f"{file} does not state view:sun_elevation, without which level 1 is no reflectance.")
    scaling = {}
    for name, asset in chosen.items():
        told = _scale(asset)
        if told is None:
            raise SceneError(f"{file} does not state the scale of {name} (raster:bands); use the delivered product.")
        scaling[name] = reflectance_scaling(*told, level, float(elevation or 0.0), name, file)
    return scaling


def _mask(item: Mapping[str, Any], key: str, file: Path, stack: ExitStack) -> tuple[Any, str] | None:
    """Return an asset's open raster and its place, or None when the item has no such asset."""
    if key not in item["assets"]:
        return None
    place = _place(item["assets"][key], file)
    return stack.enter_context(open_raster(place)), place


def _scl_cloud(codes: np.ndarray) -> np.ndarray:
    return np.isin(codes[0], _SCL_CLOUD)
