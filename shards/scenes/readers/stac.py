"""STAC items on disk: which asset is which band, and its scale, from the item alone.

The offset of Sentinel-2 is the trap of catalogues: Earth Search states ``offset -0.1`` on files from which it has been
taken already, and says so by ``earthsearch:boa_offset_applied``. That flag wins; then the offset that the asset states;
then the processing baseline (04.00 and later add 1000). Landsat's scaling and masks are those of its own reader. Needs
pystac.
"""

import json
import math
import re
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from bandloom.command_line.console import logger
from bandloom.errors import SceneError
from bandloom.rasters.values import OFFSET, SCALE
from bandloom.sensors import SLOT_GSD_M, SLOTS, Sensor, get_sensor
from bandloom.shards.scenes.checksums import check_beside, check_multihash
from bandloom.shards.scenes.cloud import RasterCloud, scl_cloud
from bandloom.shards.scenes.grid import open_raster
from bandloom.shards.scenes.litter import is_litter
from bandloom.shards.scenes.raster import Bands, RasterScene
from bandloom.shards.scenes.readers.hls import HLS_ABSENT, HLS_SCALING, fmask_cloud
from bandloom.shards.scenes.readers.landsat import COLLECTION2_SCALING, LandsatScene, reflectance_scaling
from bandloom.shards.scenes.readers.plain import RASTER_SUFFIXES
from bandloom.shards.scenes.readers.stac_assets import described, gsd_of, keys_of, kind_of, mask_key
from bandloom.shards.scenes.scaled import ScaledScene
from bandloom.shards.scenes.stated import Scaling, Stated

SUFFIXES = (".json", ".geojson")  # both are of the media type of items, application/geo+json
_OF_A_COLLECTION = re.compile(r"(.*?\.(?:geo)?json)#(.*)", re.DOTALL)
ITEM = "item.json"  # what an item is called inside its scene's folder
_LIMIT_BYTES, _COLLECTION_LIMIT_BYTES = 4 * 2**20, 64 * 2**20
_FIRST_WITH_OFFSET = 4.0
_OF_ESA = re.compile(r"[0-8]?\d\.\d\d")  # baselines; 99.99 is a user's own processing
_UNSTATED = (1.0, 0.0)  # what GDAL says of a file without tags; makers of items (rio-stac) copy it
_DAY_S = 86_400.0


def stac_file(path: Path) -> Path | None:
    """Return the item's file, given that file or its scene's folder; None when there is no STAC item.

    ``FILE.json#ID`` is one item of a collection of items; the file alone is, where it holds no other.
    """
    file, _ = split_item(path)
    if file.is_dir():
        file = file / ITEM if (file / ITEM).is_file() else _item_of(file) or file
    return file if _looks_like(file, _LIMIT_BYTES if file.name == ITEM else _COLLECTION_LIMIT_BYTES) else None


def _item_of(folder: Path) -> Path | None:
    """Return the item of the rasters that lie right inside a folder: the only JSON file, and it names all of them."""
    inside = [file for file in folder.iterdir() if not is_litter(file.name)]
    files = [file for file in inside if file.suffix == ".json"]
    if len(files) != 1 or not _looks_like(files[0], _LIMIT_BYTES):
        return None
    try:
        assets = json.loads(files[0].read_text())["assets"]
        named = {PurePosixPath(unquote(str(asset["href"]))).name for asset in assets.values()}
        banded = bool(keys_of(assets))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    rasters = {file.name for file in inside if file.suffix.lower() in RASTER_SUFFIXES}
    return files[0] if banded and rasters and rasters <= named else None


def split_item(path: Path) -> tuple[Path, str | None]:
    """Return the file that a path names, and the item in it."""
    match = _OF_A_COLLECTION.fullmatch(str(path))
    return (Path(match[1]), match[2]) if match else (path, None)


def _looks_like(file: Path, limit_bytes: int) -> bool:
    if file.suffix.lower() not in SUFFIXES or not file.is_file() or file.stat().st_size > limit_bytes:
        return False
    text = file.read_text(errors="replace")
    return '"stac_version"' in text and '"assets"' in text and '"item_assets"' not in text


def items_of(path: Path) -> list[str]:
    """Return ``FILE.json#ID`` for every item of a file that holds a collection of them; none for any other path."""
    if path.suffix.lower() not in SUFFIXES or stac_file(path) is None:
        return []
    return [f"{path}#{item.get('id')}" for item in _features(path)]


def _features(file: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(file.read_text(errors="replace"))
    except ValueError:
        return []
    features = content.get("features") if isinstance(content, dict) else None
    return [item for item in features if isinstance(item, dict)] if isinstance(features, list) else []


def open_stac(path: Path, offset: int | None = None) -> RasterScene:
    """Open an item with its assets, on disk or wherever GDAL reads.

    Raises:
        SceneError: it is no item of Sentinel-2, Landsat 8/9 or HLS, or lacks a band, a scale or a file.
    """
    file = stac_file(path)
    if file is None:
        raise SceneError(f"{path} is no STAC item; expected a .json or .geojson with stac_version and assets.")
    item = _item(file, split_item(path)[1])
    kind = kind_of(item["assets"])
    keys = keys_of(item["assets"])
    sensor = _sensor(item, set(keys), file)
    if sensor.name.startswith("landsat") and kind != "landsat":
        raise SceneError(f"{file} has no asset qa_pixel, which tells fill and cloud; fetch the item with it.")
    wanted = {band.name: band.slot for band in sensor.bands if band.slot}
    missing = [name for name, slot in wanted.items() if slot not in keys]
    if missing:
        raise SceneError(
            f"{file} has no asset for band {missing[0]} of {sensor.name}; fetch the item with all its bands."
        )
    chosen = {name: item["assets"][keys[slot]] for name, slot in wanted.items()}
    if kind == "sentinel2":
        _check_own_samples(file, keys, item["assets"])
    stack = ExitStack()
    try:
        bands: Bands = {}
        for name, asset in chosen.items():
            place = _place(asset, file)
            bands[name] = (stack.enter_context(open_raster(place)), place, 1)
        stated, name = _stated(item, chosen, sensor), re.sub(r"[^A-Za-z0-9_-]+", "-", str(item["id"]))
        if kind == "landsat":
            scaling = _scaling(item, chosen, sensor, file)
            marks = {key.upper(): mask for key in ("qa_pixel", "qa_radsat") if (mask := _mask(item, key, file, stack))}
            return LandsatScene(name, str(path), sensor, bands, stack, stated, scaling, marks)
        if kind.startswith("hls"):
            mask = _mask(item, mask_key(item["assets"], "fmask"), file, stack)
            cloud = RasterCloud(*mask, fmask_cloud) if mask else None
            scaling = dict.fromkeys(chosen, HLS_SCALING)
            return ScaledScene(name, str(path), sensor, bands, stack, stated, scaling, absent=HLS_ABSENT, cloud=cloud)
        mask = _mask(item, mask_key(item["assets"], "scl"), file, stack)
        cloud = RasterCloud(*mask, scl_cloud) if mask else None
        return RasterScene(name, str(path), sensor, bands, stack, offset, cloud, stated)
    except BaseException:
        stack.close()
        raise


def _check_own_samples(file: Path, keys: Mapping[str, str], assets: Mapping[str, Any]) -> None:
    """Refuse a band that an item holds as a finer copy alone: its samples are not those that were measured."""
    for slot, key in keys.items():
        gsd_m = gsd_of(key, assets[key])
        if gsd_m is not None and gsd_m < SLOT_GSD_M[slot]:
            raise SceneError(
                f"{file} has {slot} at {gsd_m:g} m alone ({key}), a copy of what was measured at {SLOT_GSD_M[slot]} m;"
                f" fetch the item with {slot}_{SLOT_GSD_M[slot]}m."
            )


def _item(file: Path, named: str | None = None) -> dict[str, Any]:
    """Read an item, or the ``named`` one of a collection, in the newest version of STAC, with absolute places."""
    try:
        import pystac
    except ImportError as cause:
        raise SceneError(
            f"{file} is a STAC item, which needs pystac; install it with: pip install 'bandloom[fetch]'."
        ) from cause
    check_beside(file)
    several = _features(file)
    chosen = [item for item in several if named is None or item.get("id") == named]
    if named is not None and len(chosen) > 1:
        raise SceneError(f"{file} holds {len(chosen)} items called {named}; give each a file of its own.")
    if several and len(chosen) != 1:
        names = ", ".join(str(item.get("id")) for item in several[:5])
        raise SceneError(f"{file} holds {len(several)} items ({names}, ...); name one: {file}#ID.")
    try:
        content = chosen[0] if several else json.loads(file.read_text())
        item = pystac.Item.from_dict(content, href=str(file.resolve()))
        item.make_asset_hrefs_absolute()
        return item.to_dict(include_self_link=False, transform_hrefs=False)
    except Exception as cause:  # pystac's errors on strange items are of no one family
        raise SceneError(f"{file} is no readable STAC item ({cause!r}); fetch it again.") from cause


def _sensor(item: Mapping[str, Any], slots: set[str], file: Path) -> Sensor:
    facts, name = item["properties"], f"{item.get('collection') or ''} {item['id']}"
    if (kind := kind_of(item["assets"])).startswith("hls"):
        return get_sensor(kind)
    platform = re.sub(r"[^a-z0-9]", "", str(facts.get("platform") or facts.get("constellation") or "").lower())
    if re.match(r"sentinel2|s2[a-d]$", platform):
        return get_sensor("sentinel2-l1c" if set(SLOTS) <= slots else "sentinel2-l2a")
    if re.match(r"(landsat|lc0?)[89]$", platform):
        if str(facts.get("landsat:collection_number", "02")).lstrip("0") != "2":
            raise SceneError(f"{file} is of Landsat's collection {facts['landsat:collection_number']}; expected 02.")
        told = f"{facts.get('landsat:correction') or ''} {facts.get('landsat:processing_level') or ''} {name}"
        level = re.search(r"(?:^|[^a-z0-9]|c2)l([12])", told, re.IGNORECASE)
        if level is None:
            raise SceneError(f"{file} does not say its level (landsat:correction); expected L1TP or L2SP.")
        return get_sensor(f"landsat89-l{level[1]}")
    raise SceneError(
        f"{file} is of the platform {facts.get('platform') or 'unknown'}; expected sentinel-2, landsat-8 or -9, or HLS."
    )


def _place(asset: Mapping[str, Any], file: Path) -> str:
    """Return where GDAL finds an asset; a local one is held against the checksum that the item states."""
    href = str(asset["href"])
    for scheme, prefix in (("s3://", "/vsis3/"), ("gs://", "/vsigs/"), ("http", "/vsicurl/http")):
        if href.startswith(scheme):
            return prefix + href.removeprefix(scheme)
    local = Path(href.removeprefix("file://"))
    if not local.exists():  # hrefs are written as addresses are: a space is %20
        local = Path(unquote(str(local)))
    if "file:checksum" in asset and local.is_file():
        check_multihash(local, str(asset["file:checksum"]), f"the file:checksum in {file.name}")
    return str(local)


def _stated(item: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]], sensor: Sensor) -> Stated:
    facts = item["properties"]
    sun = {"sun_degrees": {"elevation": facts["view:sun_elevation"]}} if "view:sun_elevation" in facts else {}
    offset, why = _offset(item, chosen) if sensor.name.startswith("sentinel2") else (0, "its own scaling")
    told = {"product": item["id"], "processing_baseline": _baseline(facts)} | sun
    return Stated(offset, why, _time(item), told)


def _time(item: Mapping[str, Any]) -> datetime | None:
    """Return when an item's ground was seen; an interval of more than a day, as composites have, is no such time."""
    facts = item["properties"]
    if facts.get("datetime"):
        return _utc(facts["datetime"])
    first, last = (_utc(facts.get(key) or "") for key in ("start_datetime", "end_datetime"))
    if first and last and (last - first).total_seconds() > _DAY_S:
        logger.warning("%s covers %s to %s: it has no date of its own", item["id"], first.date(), last.date())
        return None
    return first


def _utc(text: str) -> datetime | None:
    if not text:
        return None
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _offset(item: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]]) -> tuple[int | None, str]:
    """Return the radiometric offset that an item of Sentinel-2 states, and by what.

    None when it says nothing, or its assets say different things.

    Raises:
        SceneError: an asset states another scale than that of 10000 x reflectance.
    """
    facts, stated = item["properties"], set()
    for name, asset in chosen.items():
        scale = _scale(asset)
        if scale is None or scale == _UNSTATED:
            continue
        if not math.isclose(scale[0] * SCALE, 1, rel_tol=1e-6):
            raise SceneError(
                f"{item['id']} states scale {scale[0]:g} and offset {scale[1]:g} for {name} (raster:bands); expected"
                f" {1 / SCALE:g}, as Sentinel-2's products have it: mend the item, or pass --scale GAIN,OFFSET."
            )
        stated.add(round(scale[1] * SCALE))
    for flag in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"):
        if str(facts.get(flag)).lower() == "true":
            return 0, flag
    if len(stated) == 1:
        return stated.pop(), "the assets' raster offset"
    baseline = _baseline(facts)
    if not stated and baseline is not None and _OF_ESA.fullmatch(str(baseline)):
        return (-OFFSET if float(baseline) >= _FIRST_WITH_OFFSET else 0), "the item's processing baseline"
    return None, "the item"


def _baseline(facts: Mapping[str, Any]) -> Any:
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        if facts.get(key):
            return facts[key]
    product = str(facts.get("s2:product_uri") or facts.get("sentinel:product_id") or "")
    named = re.search(r"_N(\d\d)(\d\d)_", product)
    return f"{named[1]}.{named[2]}" if named else None


def _scale(asset: Mapping[str, Any]) -> tuple[float, float] | None:
    told = (asset.get("raster:bands") or [{}])[0] | {
        key.removeprefix("raster:"): value
        for key, value in (*asset.items(), *(described(asset) or [{}])[0].items())
        if key in ("raster:scale", "raster:offset")
    }
    return (float(told["scale"]), float(told.get("offset", 0))) if "scale" in told else None


def _scaling(item: Mapping[str, Any], chosen: Mapping[str, Mapping[str, Any]], sensor: Sensor, file: Path) -> Scaling:
    """Return gain and offset to reflectance for every band of Landsat; level 1 needs the sun's elevation as well."""
    level = "1" if sensor.reflectance == "toa" else "2"
    elevation = item["properties"].get("view:sun_elevation")
    if level == "1" and elevation is None:
        raise SceneError(f"{file} does not state view:sun_elevation, without which level 1 is no reflectance.")
    told = {name: _scale(asset) for name, asset in chosen.items()}
    if not any(told.values()):  # USGS's own items state none: Collection 2 scales every scene alike
        told = dict.fromkeys(told, COLLECTION2_SCALING[level])
    scaling = {}
    for name, scale in told.items():
        if scale is None:
            raise SceneError(f"{file} does not state the scale of {name} (raster:bands); use the delivered product.")
        scaling[name] = reflectance_scaling(*scale, level, float(elevation or 0.0), name, file)
    return scaling


def _mask(item: Mapping[str, Any], key: str | None, file: Path, stack: ExitStack) -> tuple[Any, str] | None:
    """Return an asset's open raster and its place, or None when the item has no such asset."""
    if key is None or key not in item["assets"]:
        return None
    place = _place(item["assets"][key], file)
    return stack.enter_context(open_raster(place)), place
