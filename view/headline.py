"""What a map is called on a page: what it shows of which scene, and when, by which sensor and model."""

import json
from collections.abc import Mapping
from datetime import datetime

TIME = "%Y:%m:%d %H:%M:%S"  # of TIFF


def title_of(tags: Mapping[str, str], label_set: str | None, stem: str) -> str:
    """Return one line that says what a map is.

    Args:
        tags: the map's own.
        label_set: the name of its classes, where it has one.
        stem: the file's name, for maps that say nothing of themselves.
    """
    dates = [_record(tags[name]) for name in ("BEFORE", "AFTER") if name in tags]
    if len(dates) == 2:
        return f"What changed from {_when(dates[0])} to {_when(dates[1])}"
    if not tags.get("SCENE"):
        return stem
    shown = (label_set or "classes").replace("_", " ").replace("-", " ")
    return f"{shown[:1].upper()}{shown[1:]} of {tags['SCENE']}"


def about(tags: Mapping[str, str], file: str) -> str:
    """Return the facts under the title: day, sensor, bundle and file, as far as they are known."""
    sensor = tags.get("SENSOR", _record(tags.get("AFTER", "{}")).get("SENSOR", ""))
    bundle = f"mapped by {tags['BUNDLE']}" if tags.get("BUNDLE") else ""
    return " \u00b7 ".join(fact for fact in (_day(tags), sensor, bundle, file) if fact)


def _when(tags: Mapping[str, str]) -> str:
    return tags.get("SCENE") or _day(tags) or "an unnamed scene"


def _day(tags: Mapping[str, str]) -> str:
    written = tags.get("TIFFTAG_DATETIME", "") if "SCENE" in tags else ""  # of a map of ours the scene's, too
    try:
        seen = tags.get("ACQUISITION_DATETIME")
        time = datetime.fromisoformat(seen.replace("Z", "+00:00")) if seen else datetime.strptime(written, TIME)
    except ValueError:
        return ""
    return f"{time.day} {time:%B %Y}"


def _record(text: str) -> dict[str, str]:
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
