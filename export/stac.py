"""A STAC item beside a map, so that a catalogue can find it without opening it."""

import datetime as dt
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandloom import __version__
from export.bundle import Bundle
from export.partial_map import disk_errors

if TYPE_CHECKING:
    from shards.scenes import Scene

STAC_VERSION = "1.0.0"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
MEDIA = {"png": "image/png", "confidence.tif": COG_TYPE, "probabilities.tif": COG_TYPE}


def write_item(
    path: Path, out: Path, scene: "Scene", bundle: Bundle, sides: Mapping[str, Path], shifted: float | None
) -> None:
    """Write the item of the map ``out``; links are relative, so the files may be moved together."""
    with disk_errors(path):
        temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        try:
            temporary.write_text(json.dumps(item(out, scene, bundle, sides, shifted), indent=1) + "\n")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def item(out: Path, scene: "Scene", bundle: Bundle, sides: Mapping[str, Path], shifted: float | None) -> dict[str, Any]:
    """Return the item as plain JSON types."""
    west, south, east, north = map(float, scene.footprint)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    when = scene.datetime
    span = {} if when else {"start_datetime": "1970-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}
    properties: dict[str, Any] = {
        "datetime": when.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when else None,
        **span,
        "processing:software": {"bandloom": __version__},
        "bandloom:bundle": bundle.record.name,
        "bandloom:contract": bundle.contract.digest(),
        "bandloom:sensor": scene.sensor.name,
    }
    if shifted is not None:
        properties["bandloom:half_tile_shift_disagreement"] = shifted
    assets = {suffix.partition(".")[0]: _asset(path, MEDIA[suffix], "data") for suffix, path in sides.items()}
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [CLASSIFICATION],
        "id": out.stem,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": properties,
        "links": [],
        "assets": {"map": _asset(out, COG_TYPE, "data") | {"classification:classes": _classes(bundle)}, **assets},
    }


def _asset(path: Path, media: str, role: str) -> dict[str, Any]:
    return {"href": f"./{path.name}", "type": media, "roles": [role]}


def _classes(bundle: Bundle) -> list[dict[str, Any]]:
    labels = bundle.contract.get_label_set()
    return [{"value": c.code, "name": c.name.replace(" ", "-"), "description": c.name, "color_hint": c.colour[1:]}
            for c in labels.classes]  # fmt: skip
