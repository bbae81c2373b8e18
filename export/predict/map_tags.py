"""Tags of a map: bundle, scene, sensor, and where each band of the scene lies."""

import json
from typing import TYPE_CHECKING, Any

from bandloom import __version__
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.predict.options import PredictOptions
from bandloom.export.predict.origin import place_in_scene

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene


def tags_of(bundle: Bundle, scene: "Scene", options: PredictOptions) -> dict[str, str]:
    """Return the tags that every file of a map carries."""
    tags = {
        "TIFFTAG_SOFTWARE": f"bandloom {__version__}",
        "BUNDLE": bundle.record.name,
        "CONTRACT": bundle.contract.digest(),
        "MODEL_SHA256": bundle.record.files[bundle.model(options.precision).file],
        "SCENE": str(scene.name),
        "SCENE_PROVENANCE": json.dumps(scene.provenance, default=str),
        "SENSOR": scene.sensor.name,
        "SCENE_BANDS": json.dumps(bands_of(scene)),
    }
    if scene.datetime is not None:
        tags["ACQUISITION_DATETIME"] = scene.datetime.isoformat()
        tags["TIFFTAG_DATETIME"] = scene.datetime.strftime("%Y:%m:%d %H:%M:%S")
    return tags


def bands_of(scene: "Scene") -> list[dict[str, Any]]:
    """Say which band is which and where in the scene it lies, so that what shows it need not understand products."""
    shown: Any = getattr(scene, "later", scene)  # of two dates the one that the map is of
    files, source = getattr(shown, "files", {}), str(shown.provenance.get("source", ""))
    told = []
    for band in shown.sensor.bands:
        file, index = files.get(band.name, ("", 0))
        if band.slot and index:
            inside = place_in_scene(file, source)
            place = {} if inside is None else {"file": inside, "index": index}
            told.append({"name": band.name, "slot": band.slot, "centre_nm": band.centre_nm, **place})
    return told
