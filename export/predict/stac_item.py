"""A STAC item beside a map, so that a catalogue can find it without opening it."""

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.crs import CRS
from rasterio.transform import Affine

from bandloom import __version__
from bandloom.classes.label_set import LabelSet
from bandloom.errors import OutputError
from bandloom.export.bundle.bundle import Bundle
from bandloom.rasters.footprint import bbox_of, footprint

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

STAC_VERSION = "1.1.0"
EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("classification/v2.0.0", "projection/v2.0.0", "processing/v1.1.0")
)
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
MEDIA = {
    "png": ("image/png", "overview"),
    "qml": ("application/xml", "metadata"),
    "confidence.tif": (COG_TYPE, "data"),
    "probabilities.tif": (COG_TYPE, "data"),
    "entropy.tif": (COG_TYPE, "data"),
    "disagreement.tif": (COG_TYPE, "data"),
    "ood.tif": (COG_TYPE, "data"),
    "change.json": ("application/json", "data"),
}
Grid = tuple[CRS, Affine, tuple[int, ...]]


def item_of_map(
    out: Path, scene: "Scene", bundle: Bundle, sides: Mapping[str, Path], grid: Grid, shifted: float | None
) -> dict[str, Any]:
    """Return the item of the map ``out`` as plain JSON types; links are relative, so files may be moved together.

    Args:
        out: the map.
        scene: what was mapped, and when.
        bundle: what mapped it: its classes.
        sides: the files beside the map, by suffix.
        grid: the map's own CRS, transform and ``(H, W)``; the geometry is its outline, in two parts where it crosses
            the antimeridian (the west of ``bbox`` is then greater than its east, RFC 7946, 5.2).
        shifted: the share of pixels that change class when tiles are shifted, where it was measured.
    """
    geometry = footprint(*grid)
    when = scene.datetime
    # a time that nobody knows is null with an interval around it: the specification wants both ends
    span = {} if when else {"start_datetime": "1970-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}
    properties: dict[str, Any] = {
        "datetime": when.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else None,
        **span,
        **_projection(*grid),
        "processing:software": {"bandloom": __version__},
        "bandloom:bundle": bundle.record.name,
        "bandloom:contract": bundle.contract.digest(),
        "bandloom:sensor": scene.sensor.name,
    }
    if shifted is not None:
        properties["bandloom:half_tile_shift_disagreement"] = shifted
    return _feature(out, geometry, properties, [], _assets(out, bundle.contract.get_label_set(), sides))


def item_of_change(out: Path, before: Path, after: Path, labels: LabelSet, sides: Mapping[str, Path]) -> dict[str, Any]:
    """Return the item of a map of what changed between two maps: on the earlier one's grid, over the time between them.

    Args:
        out: the map of changes.
        before: the item beside the earlier map.
        after: the item beside the later map.
        labels: the classes of the first band.
        sides: the files beside the map, by suffix.

    Raises:
        OutputError: an item is not there any more.
    """
    earlier, later = (_read_item(path) for path in (before, after))
    first, last = earlier["properties"], later["properties"]
    times = {
        "datetime": last["datetime"],
        "start_datetime": first.get("start_datetime", first["datetime"]),
        "end_datetime": last.get("end_datetime", last["datetime"]),
    }
    own = {name: value for name, value in first.items() if not name.startswith("bandloom:half_tile")}
    return earlier | {
        "id": out.stem,
        "properties": own | times,
        "links": _derived_from((before, after)),
        "assets": _assets(out, labels, sides),
    }


def item_of_mosaic(
    out: Path, parts: Sequence[Path], labels: LabelSet, sides: Mapping[str, Path], grid: Grid
) -> dict[str, Any]:
    """Return the item of a mosaic of maps of one bundle: on its own grid, over the time between them.

    Args:
        out: the mosaic.
        parts: the items beside the maps, in the mosaic's order.
        labels: the classes.
        sides: the files beside the mosaic, by suffix.
        grid: the mosaic's own CRS, transform and ``(H, W)``.

    Raises:
        OutputError: an item is not there any more.
    """
    told = [_read_item(path)["properties"] for path in parts]
    first = told[0]
    starts = [one.get("start_datetime") or one["datetime"] for one in told]
    stops = [one.get("end_datetime") or one["datetime"] for one in told]
    begins, ends = (min(starts), max(stops)) if all(starts + stops) else (None, None)  # a map of no known time
    span = {} if begins == ends else {"start_datetime": begins, "end_datetime": ends}
    own = {name: value for name, value in first.items() if name.startswith(("bandloom:", "processing:"))}
    for name in ("bandloom:seconds", "bandloom:half_tile_shift_disagreement"):
        own.pop(name, None)
    geometry = footprint(*grid)
    properties = {"datetime": begins if begins == ends else None, **span, **_projection(*grid), **own}
    return _feature(out, geometry, properties, _derived_from(parts), _assets(out, labels, sides))


def _feature(
    out: Path, geometry: dict[str, Any], properties: dict[str, Any], links: list[dict[str, str]], assets: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": out.stem,
        "geometry": geometry,
        "bbox": list(bbox_of(geometry)),
        "properties": properties,
        "links": links,
        "assets": assets,
    }


def _derived_from(items: Sequence[Path]) -> list[dict[str, str]]:
    return [{"rel": "derived_from", "href": f"./{path.name}", "type": "application/geo+json"} for path in items]


def _assets(out: Path, labels: LabelSet, sides: Mapping[str, Path]) -> dict[str, Any]:
    beside = {suffix.partition(".")[0]: _asset(path, *MEDIA[suffix]) for suffix, path in sides.items()}
    return {"map": _map_asset(out, labels), **beside}


def _read_item(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise OutputError(f"{path} is missing; remove the map beside it and run the same command again.")
    return json.loads(path.read_text())


def _projection(crs: CRS, transform: Affine, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the ``proj:`` fields; a system without an EPSG code is given whole."""
    code = crs.to_epsg()
    known = {"proj:code": f"EPSG:{code}"} if code else {"proj:code": None, "proj:wkt2": crs.to_wkt("WKT2_2019")}
    return known | {"proj:shape": list(shape), "proj:transform": list(transform)[:6]}


def _asset(path: Path, media: str, role: str) -> dict[str, Any]:
    return {"href": f"./{path.name}", "type": media, "roles": [role]}


def _map_asset(path: Path, labels: LabelSet) -> dict[str, Any]:
    classes = [
        {
            "value": c.code,
            "name": re.sub("[^0-9A-Za-z_-]+", "-", c.name),
            "description": c.name,
            "color_hint": c.colour[1:].upper(),
        }
        for c in labels.classes
    ]
    return _asset(path, COG_TYPE, "data") | {"classification:classes": classes}
