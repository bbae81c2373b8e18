"""The map page as one file: pictures of the whole view inside, no server behind it."""

import base64
import json
from pathlib import Path

from bandloom.files.output import new_output
from bandloom.rasters.png import png
from bandloom.rasters.web_tiles import mercator_of
from bandloom.view.server import FILES, Views
from bandloom.view.tiles import class_picture, scene_picture

MOST_PX = 2048  # of a picture's longer side
PICTURES = ("true colour", "false colour", "SWIR")


def write_page(views: Views, out: Path) -> Path:
    """Write the page with its pictures inside.

    Args:
        views: what to show.
        out: a new ``.html`` file.

    Raises:
        OutputError: ``out`` exists, or cannot be written.
    """
    record = views.record()
    pictures: dict[str, str] = {}
    for number, shown in enumerate(views.maps):
        bounds, size = view_of(shown.bounds)
        for one in shown.classes:  # a picture a class, so that each can be hidden
            pictures[f"map/{number}/{one.value}"] = _inside(png(class_picture(shown, bounds, size, {one.value})))
    bounds, size = view_of(views.bounds)
    record["composites"] = [name for name in record["composites"] if name in PICTURES] or record["composites"][:1]
    if views.scene is not None:
        for name in record["composites"]:
            slots = views.scene.composites()[name]
            pictures[f"scene/{name}"] = _inside(png(scene_picture(views.scene, slots, bounds, size)))
    record["pictures"] = pictures
    page = FILES["/"].read_text()
    for name in ("maplibre-gl.css", "design.css", "view.css"):
        style = FILES[f"/{name}"].read_text()
        page = page.replace(f'<link rel="stylesheet" href="{name}">', f"<style>{style}</style>")
    for name in ("maplibre-gl.js", "parts.js", "layers.js", "view.js"):
        script = FILES[f"/{name}"].read_text().replace("</script", "<\\/script")
        page = page.replace(f'<script src="{name}"></script>', f"<script>{script}</script>")
    data = json.dumps(record).replace("<", "\\u003c")
    page = page.replace("<!-- record -->", f"<script>window.RECORD = {data};</script>")
    with new_output(out) as temporary:
        temporary.write_text(page)
    return out


def view_of(
    degrees: tuple[float, float, float, float], longest_px: int = MOST_PX
) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    """Return a map's window in metres of web Mercator, and the ``(H, W)`` of its picture."""
    left, bottom, right, top = mercator_of(degrees)
    scale = longest_px / max(right - left, top - bottom)
    return (left, bottom, right, top), (max(1, round((top - bottom) * scale)), max(1, round((right - left) * scale)))


def _inside(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
