"""Band assets of STAC items, by the names of Earth Search, Planetary Computer, CDSE, USGS and HLS."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bandloom.sensors import SLOT_GSD_M, SLOTS, get_sensor
from bandloom.shards.scenes.bands import sentinel2_name

_BY_COMMON_NAME = {
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
_MASKS = ("scl", "qa_pixel", "qa_radsat", "fmask")  # of cloud, fill and saturation
_SENSOR_OF = {"landsat": "landsat89-l1", "hls-l30": "hls-l30", "hls-s30": "hls-s30"}
_SLOTS_OF = {
    kind: {band.name.replace("B0", "B"): band.slot for band in get_sensor(name).bands}
    for kind, name in _SENSOR_OF.items()
}
_OWN_GSD = re.compile(r"_(\d\d)m$")


def kind_of(assets: Mapping[str, Any]) -> str:
    """Return ``landsat``, ``hls-l30``, ``hls-s30`` or ``sentinel2`` by what an item brings: their bands share names."""
    keys = {key.lower() for key in assets}
    if "fmask" in keys:
        return "hls-s30" if "b8a" in keys else "hls-l30"
    return "landsat" if "qa_pixel" in keys else "sentinel2"


def scene_assets(assets: Mapping[str, Any]) -> list[str]:
    """Return the keys of the assets that a scene is read from: one a band, and masks of cloud, fill and saturation."""
    masks = [key for kind in _MASKS if (key := mask_key(assets, kind))]
    return [*keys_of(assets).values(), *masks]


def mask_key(assets: Mapping[str, Any], kind: str) -> str | None:
    """Return the key of a mask, whatever its case: ``scl``, ``SCL``, ``SCL_20m``; the one at 20 m, and no JP2."""
    keys = [key for key in assets if re.fullmatch(rf"{kind}(_\d\dm)?(-jp2)?", key, re.IGNORECASE)]
    return min(keys, key=lambda key: (key.endswith("-jp2"), "_20m" not in key, key), default=None)


def keys_of(assets: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys of the assets of one band each by slot.

    Where several hold a band: the one at the sampling that was measured, then one that is no JP2.
    """
    kind, keys = kind_of(assets), {}
    ranks: dict[str, tuple[int, bool, str]] = {}
    for key, asset in assets.items():
        told = described(asset)
        if len(told) > 1 or {"overview", "thumbnail"} & set(asset.get("roles") or []):
            continue
        first = told[0] if told else {}
        names = (key, first.get("name"), first.get("eo:common_name"), first.get("common_name"))
        slot = next((s for name in names if name and (s := _slot(str(name), kind))), None)
        if slot is None:
            continue
        gsd_m = gsd_of(key, asset)
        native = 0 if gsd_m == SLOT_GSD_M[slot] else 1 if gsd_m is None else 2
        rank = (native if kind == "sentinel2" else 0, ".jp2" in str(asset["href"]).lower(), key)
        if slot not in ranks or rank < ranks[slot]:
            ranks[slot], keys[slot] = rank, key
    return {slot: keys[slot] for slot in SLOTS if slot in keys}


def described(asset: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what an asset says of its bands, in STAC 1.1's way or the way before."""
    return asset.get("bands") or asset.get("eo:bands") or []


def gsd_of(key: str, asset: Mapping[str, Any]) -> float | None:
    """Return an asset's ground sampling distance in metres, by its key (``B01_60m``) or its fields; None: not said."""
    named = _OWN_GSD.search(key)
    raster = (asset.get("raster:bands") or [{}])[0]
    told = (named[1] if named else None, asset.get("gsd"), raster.get("spatial_resolution"))
    first = next((band for band in told if band is not None), None)
    return None if first is None else float(first)


def _slot(name: str, kind: str) -> str | None:
    name = _OWN_GSD.sub("", name.removesuffix("-jp2"))
    if kind != "sentinel2":
        own = re.fullmatch(r"(?:\w+_)?B(\d\d?|8A)", name, re.IGNORECASE)
        if own is None:
            return _BY_COMMON_NAME.get(name.lower()) if kind == "landsat" else None
        return _SLOTS_OF[kind].get(f"B{own[1].upper().lstrip('0')}")
    if re.fullmatch(r"B(\d\d?|8A)", name, re.IGNORECASE):
        return sentinel2_name(name)
    return _BY_COMMON_NAME.get(name.lower())
