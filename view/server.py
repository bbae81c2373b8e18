"""The map page's server: serves this machine alone, and only the files named on the command line."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bandloom.command_line.console import logger
from bandloom.errors import OutputError, SceneError
from bandloom.rasters.png import png
from bandloom.rasters.web_tiles import MOST_NORTH, TILE_PX, Degrees, beside, tile_bounds
from bandloom.view.class_map import ClassMap
from bandloom.view.fetch_maplibre import VENDOR
from bandloom.view.scene_bands import SceneBands
from bandloom.view.similarity import Similarity
from bandloom.view.tiles import class_means, class_picture, scene_picture

DEEPEST_ZOOM = 22
PAGE = Path(__file__).parent / "page"
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
TILE = re.compile(r"/tiles/(map|scene|similar)/([^/]+)/(\d{1,2})/(\d{1,8})/(\d{1,8})\.png")
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
FILES = {
    "/": PAGE / "index.html",
    "/design.css": PAGE / "design.css",
    "/parts.js": PAGE / "parts.js",
    "/layers.js": PAGE / "layers.js",
    "/view.js": PAGE / "view.js",
    "/view.css": PAGE / "view.css",
    "/maplibre-gl.js": VENDOR / "maplibre-gl.js",
    "/maplibre-gl.css": VENDOR / "maplibre-gl.css",
}


class Views:
    """What the page shows: maps as layers, the first two of them on both sides of a swipe, and the scene under them."""

    def __init__(
        self,
        maps: Sequence[ClassMap],
        scene: SceneBands | None,
        *,
        layers: Sequence[ClassMap] = (),
        similarity: Similarity | None = None,
    ) -> None:
        """Check that all of it shows the same ground.

        Args:
            maps: one, or two on both sides of a swipe; none where there are embeddings.
            scene: what lies under them.
            layers: further maps, folded away at first.
            similarity: embeddings, for maps of what looks like a click.

        Raises:
            SceneError: two do not overlap, or one lies where a web map has ended.
        """
        self.swiped, self.scene, self.similarity = len(maps) == 2, scene, similarity
        self.maps = [*maps, *layers]
        shown = [*self.maps, *([similarity] if similarity else [])]
        for one in shown:
            if one.bounds[1] == one.bounds[3]:
                raise SceneError(
                    f"{one.path} lies beyond {MOST_NORTH:.2f} degrees, where web maps end; look at it in QGIS."
                )
        self.bounds = shown[0].bounds
        self.picture = lru_cache(maxsize=2048)(self._picture)
        self.class_means = cache(self._class_means)
        if scene is not None:
            require_ground(scene, shown[0])
        for other in shown[1:]:
            if not _overlap(self.bounds, other.bounds):
                raise SceneError(
                    f"{shown[0].path} and {other.path} do not cover the same ground; compare maps of one place."
                )

    def record(self) -> dict[str, Any]:
        """Return what the page asks for first."""
        composites = list(self.scene.composites()) if self.scene else []
        sizes = {shown.shape for shown in self.maps}
        note = "The maps differ in size: each area is that of its own map." if len(sizes) > 1 else ""
        similar = self.similarity.record() if self.similarity else None
        records = [shown.record() for shown in self.maps]
        for other in [*records[1:], *([similar] if similar else [])]:  # on the first one's side of the antimeridian
            other["bounds"] = list(beside(self.bounds, other["bounds"]))
        return {
            "maps": records,
            "bounds": list(self.bounds),
            "swiped": self.swiped,
            "composites": composites,
            "similar": similar,
            "note": note,
            "scene": self.scene.name if self.scene else None,
        }

    def names_at(self, longitude: float, latitude: float) -> list[dict[str, Any] | None]:
        """Return the class, or the value, that each map has at a place."""
        return [shown.at(longitude, latitude) for shown in self.maps]

    def at(self, longitude: float, latitude: float) -> dict[str, Any]:
        """Return what lies at a place."""
        hits = self.names_at(longitude, latitude)
        if self.scene is None:
            return {"maps": hits, "spectrum": [], "class_means": []}
        return {"maps": hits, "spectrum": self.scene.spectrum(longitude, latitude), "class_means": self.class_means()}

    def _class_means(self) -> list[dict[str, Any]]:
        """Return the mean spectrum of every class of the first map, in the form of :meth:`SceneBands.spectrum`."""
        if self.scene is None or not self.maps:
            return []
        bands = sorted(self.scene.bands.values(), key=lambda band: band.centre_nm)
        return [
            {
                "value": value,
                "curve": [
                    {"band": band.name, "nm": band.centre_nm, "dn": mean[band.name]}
                    for band in bands
                    if band.name in mean
                ],
            }
            for value, mean in class_means(self.maps[0], self.scene).items()
            if mean
        ]

    def _picture(self, layer: str, name: str, zoom: int, x: int, y: int, shown: str | None) -> bytes | None:
        bounds, size = tile_bounds(zoom, x, y), (TILE_PX, TILE_PX)
        if layer == "map":
            if not name.isdigit() or int(name) >= len(self.maps):
                return None
            codes = None if shown is None else {int(code) for code in shown.split(",") if code.isdigit()}
            return png(class_picture(self.maps[int(name)], bounds, size, codes))
        if layer == "similar":
            least = -1.0 if shown is None else float(shown)
            return png(self.similarity.picture(name, bounds, size, least)) if self.similarity else None
        slots = self.scene.composites().get(name) if self.scene else None
        return None if slots is None or self.scene is None else png(scene_picture(self.scene, slots, bounds, size))


def make_server(views: Views, port: int) -> ThreadingHTTPServer:
    """Return the map page's server on the loopback address; port 0 takes a free one.

    Raises:
        OutputError: the port is in use.
    """
    return listen(type("Handler", (_Handler,), {"views": views}), port)


def listen(handler: type["PageHandler"], port: int) -> ThreadingHTTPServer:
    """Return a server on the loopback address; port 0 takes a free one.

    Raises:
        OutputError: the port is in use.
    """
    try:
        return _Server(("127.0.0.1", port), handler)
    except OSError as cause:
        raise OutputError(f"port {port} cannot be used ({cause.strerror}); choose another with --port.") from cause


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that left while it was being answered: it does so at every move of the map."""
        if isinstance(sys.exception(), ConnectionError):
            logger.debug("a browser left before its answer was sent")
        else:
            super().handle_error(request, client_address)


class PageHandler(BaseHTTPRequestHandler):
    """Answers a page's requests; what goes wrong is an answer too."""

    def do_HEAD(self) -> None:
        """Answer with the head of what GET gives."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer one request; whatever goes wrong is an answer too."""
        url = urlsplit(self.path)
        self.answer_with(lambda: self._answer(url.path, parse_qs(url.query, keep_blank_values=True)))

    def answer_with(self, make: Callable[[], tuple[str, bytes]]) -> None:
        """Send what ``make`` returns, a kind and its content, or why there is none."""
        if not LOOPBACK.fullmatch(self.headers.get("Host") or ""):  # a name that another site turned to this machine
            return self._send(400, "text/plain", b"this page is for this machine alone")
        try:
            kind, content = make()
        except LookupError:
            return self._send(404, "text/plain", b"there is nothing here")
        except (ValueError, ArithmeticError):
            return self._send(400, "text/plain", b"this request cannot be read")
        except OutputError as cause:
            return self._send(503, "text/plain; charset=utf-8", str(cause).encode())
        except Exception as cause:  # a file that went away while the page was open
            why = f"a file behind this page cannot be read now ({cause}); put it back, or start bandloom view again."
            return self._send(503, "text/plain; charset=utf-8", why.encode())
        self._send(200, kind, content)

    def _answer(self, path: str, query: dict[str, list[str]]) -> tuple[str, bytes]:
        raise NotImplementedError

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: a page asks for hundreds of tiles."""


class _Handler(PageHandler):
    views: Views

    def _answer(self, path: str, query: dict[str, list[str]]) -> tuple[str, bytes]:
        if path in FILES:
            return KINDS[FILES[path].suffix], FILES[path].read_bytes()
        if path == "/record.json":
            return "application/json", json.dumps(self.views.record()).encode()
        if path == "/at.json":
            hits = self.views.at(float(query["lon"][0]), float(query["lat"][0]))
            return "application/json", json.dumps(hits).encode()
        if path == "/names.json":
            names = self.views.names_at(float(query["lon"][0]), float(query["lat"][0]))
            return "application/json", json.dumps(names).encode()
        if path == "/similar.json" and self.views.similarity:
            near = self.views.similarity.near(float(query["lon"][0]), float(query["lat"][0]))
            return "application/json", json.dumps(near).encode()
        if tile := TILE.fullmatch(path):
            layer, name, *numbers = tile.groups()
            if int(numbers[0]) > DEEPEST_ZOOM:
                raise LookupError(path)
            content = self.views.picture(layer, unquote(name), *map(int, numbers), query.get("show", [None])[0])
            if content is not None:
                return "image/png", content
        raise LookupError(path)


def require_ground(scene: SceneBands, shown: ClassMap | Similarity) -> None:
    """Check that a scene and a map share ground.

    Raises:
        SceneError: they do not.
    """
    if scene.bounds is None or not _overlap(shown.bounds, scene.bounds):
        raise SceneError(f"{scene.path} does not cover the ground of {shown.path}; name the scene that was mapped.")


def _overlap(a: Degrees, b: Degrees) -> bool:
    b = beside(a, b)
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
