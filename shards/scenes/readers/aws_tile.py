"""Sentinel-2 tiles as they lie on AWS (Sinergise): what tileInfo.json and productInfo.json say of a folder of bands."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from bandloom.rasters.values import OFFSET
from bandloom.shards.scenes.stated import Stated

_FIRST_WITH_OFFSET = (4, 0)


def aws_tile_facts(folder: Path) -> Stated | None:
    """Return time and offset of a tile, or None where the folder is no tile of AWS.

    The offset follows from the processing baseline in the product's name: 04.00 and later add 1000.
    """
    tile, product = (_json(folder / name) for name in ("tileInfo.json", "productInfo.json"))
    if not tile and not product:
        return None
    name = str(product.get("name") or tile.get("productName") or "")
    baseline = re.search(r"_N(\d\d)(\d\d)_", name)
    later = baseline is not None and (int(baseline[1]), int(baseline[2])) >= _FIRST_WITH_OFFSET
    offset = None if baseline is None else -OFFSET if later else 0
    told = {"product": name, "processing_baseline": f"{baseline[1]}.{baseline[2]}" if baseline else None}
    return Stated(offset, "the processing baseline in productInfo.json", _time(tile.get("timestamp")), told)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(errors="replace"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
