"""The labelling page's server: chips of the scene around a point, its spectrum, and answers that are saved."""

import json
import math
import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from rasterio.enums import Resampling

from bandloom.rasters.png import png
from bandloom.rasters.web_tiles import mercator_of
from bandloom.view.class_map import ClassMap
from bandloom.view.labelling.session import Answer, Session
from bandloom.view.scene_bands import SceneBands
from bandloom.view.server import KINDS, PAGE, PageHandler, require_ground
from bandloom.view.tiles import Bounds, local_stretch, scene_picture

CHIP_PX = 480
NEAR_M = 500  # below this many metres across, a chip shows the pixels themselves
MOST_M = 20_000
STRETCH_M = 1500  # of ground that sets black and white, for the near chip too: one colour is one thing in both
PLAIN, DARKER = (2, 80), (2, 99.5)  # percentiles of it; clouds take the top
MOST_BYTES = 10_000  # of an answer
CHIP = re.compile(r"/chip/(\d{1,7})/([^/]+)/(\d{1,5})\.png")
SPECTRUM = re.compile(r"/spectrum/(\d{1,7})\.json")
FILES = {
    "/": PAGE / "label.html",
    "/design.css": PAGE / "design.css",
    "/label.js": PAGE / "label.js",
    "/label.css": PAGE / "label.css",
    "/parts.js": PAGE / "parts.js",
}


class Labelling:
    """What the page shows and takes."""

    def __init__(self, session: Session, class_map: ClassMap, scene: SceneBands) -> None:
        """Check that the scene shows the ground.

        Raises:
            SceneError: it does not.
        """
        require_ground(scene, class_map)
        self.session, self.class_map, self.scene = session, class_map, scene
        self.chip = lru_cache(maxsize=512)(self._chip)

    def record(self) -> dict[str, Any]:
        """Return what the page asks for first; nothing of it says what the map shows at a point."""
        wanted = [name for name in ("true colour", "false colour", "SWIR") if name in self.scene.composites()]
        return {
            **self.session.record(),
            "map": str(self.class_map.path),
            "points": str(self.session.points.path),
            "title": self.class_map.title,
            "composites": wanted or list(self.scene.composites())[:1],
            "pixel_m": self._pixel_m(),
        }

    def _pixel_m(self) -> float:
        side = abs(self.class_map.transform.a)
        return side if self.class_map.crs.is_projected else side * 111_320

    def bounds(self, number: int, side_m: int) -> Bounds:
        """Return the window of ``side_m`` metres of ground around a point, in metres of web Mercator."""
        longitude, latitude = self.session.points.places[number].tolist()
        x, y, *_ = mercator_of((longitude, latitude, longitude, latitude))
        half = side_m / 2 / math.cos(math.radians(latitude))  # web Mercator stretches towards the poles
        return x - half, y - half, x + half, y + half

    def _chip(self, number: int, name: str, side_m: int, dark: bool) -> bytes:
        slots = self.scene.composites()[name]
        if not 0 < side_m <= MOST_M:
            raise LookupError(side_m)
        how = Resampling.nearest if side_m < NEAR_M else Resampling.bilinear
        bounds, size = self.bounds(number, side_m), (CHIP_PX, CHIP_PX)
        around = self.bounds(number, STRETCH_M)
        stretch = local_stretch(self.scene, slots, around, DARKER if dark else PLAIN)
        return png(scene_picture(self.scene, slots, bounds, size, how, stretch))

    def spectrum(self, number: int) -> list[dict[str, Any]]:
        """Return the scene's values at a point."""
        return self.scene.spectrum(*self.session.points.places[number].tolist())


class LabelHandler(PageHandler):
    """Answers the labelling page."""

    labelling: Labelling

    def do_POST(self) -> None:
        """Take an answer, or take the last one back; only from the page itself."""
        if self.headers.get("Content-Type") != "application/json":  # no other site's page can send that
            return self._send(400, "text/plain", b"this request cannot be read")
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(min(length, MOST_BYTES + 1))
        self.answer_with(lambda: self._take(content))

    def _take(self, content: bytes) -> tuple[str, bytes]:
        if len(content) > MOST_BYTES:
            raise ValueError("too long")
        session = self.labelling.session
        if self.path == "/undo":
            number = session.undo()
        elif self.path == "/answer":
            told = json.loads(content)
            number = int(told["number"])
            session.give(number, _answer_of(told), _answer_of(told["before"]) if "before" in told else None)
        else:
            raise LookupError(self.path)
        answer = None if number is None else vars(session.answers[number])
        return "application/json", json.dumps({"number": number, "answer": answer}).encode()

    def _answer(self, path: str, query: dict[str, list[str]]) -> tuple[str, bytes]:
        if path in FILES:
            return KINDS[FILES[path].suffix], FILES[path].read_bytes()
        if path == "/session.json":
            return "application/json", json.dumps(self.labelling.record()).encode()
        if chip := CHIP.fullmatch(path):
            dark = "dark" in query
            return "image/png", self.labelling.chip(int(chip[1]), unquote(chip[2]), int(chip[3]), dark)
        if spectrum := SPECTRUM.fullmatch(path):
            return "application/json", json.dumps(self.labelling.spectrum(int(spectrum[1]))).encode()
        raise LookupError(path)


def _answer_of(told: dict[str, Any]) -> Answer:
    name = told.get("name")
    return Answer(None if name is None else str(name), bool(told["unsure"]), str(told["comment"]))
