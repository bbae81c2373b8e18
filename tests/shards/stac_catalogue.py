"""A STAC API on this machine, with the files that its items name."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform

from bandloom.sensors import SENSORS

CORNER = (500_000.0, 5_000_000.0)  # UTM zone 33


class Catalogue(ThreadingHTTPServer):
    """A STAC API with items of Sentinel-2 L2A, and their files."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked, self.cut, self.fail = folder, [], {}, set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.items = []

    def item(self, name, cloud, corner=CORNER, day="2023-06-05", side_m=600, crs="EPSG:32633"):
        """Write the files of an item whose upper-left corner lies at easting and northing ``corner``."""
        assets, rng = {}, np.random.default_rng(len(name))
        for band in SENSORS["sentinel2-l2a"].bands:
            side = side_m // band.stored_gsd_m
            path = self.folder / f"{name}_{band.name}.tif"
            place = {"crs": crs, "transform": from_origin(*corner, band.stored_gsd_m, band.stored_gsd_m)}
            with rasterio.open(path, "w", "GTiff", side, side, 1, dtype="uint16", **place) as raster:
                raster.write(rng.integers(1100, 4000, (1, side, side), dtype=np.uint16))
            content = path.read_bytes()
            assets[band.name] = {
                "href": f"{self.url}/files/{path.name}?token=1",
                "roles": ["data"],
                "type": "image/tiff",
                "file:size": len(content),
                "eo:bands": [{"name": band.name}],
                "file:checksum": "1220" + hashlib.sha256(content).hexdigest(),
            }
        east, north = corner
        xs, ys = (east, east + side_m, east + side_m, east, east), (north, north, north - side_m, north - side_m, north)
        ring = [list(place) for place in zip(*transform(crs, "EPSG:4326", xs, ys)[:2], strict=True)]
        assets["thumbnail"] = {"href": f"{self.url}/files/none.png", "roles": ["thumbnail"]}
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"S2A_{name}",
            "collection": "sentinel-2-l2a",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [*np.min(ring, 0).tolist(), *np.max(ring, 0).tolist()],
            "links": [],
            "stac_extensions": [],
            "assets": assets,
            "properties": {
                "datetime": f"{day}T10:30:21Z",
                "platform": "sentinel-2a",
                "eo:cloud_cover": cloud,
                "s2:processing_baseline": "05.09",
            },
        }


def write_static(folder, items, collection="sentinel-2-l2a", href=None):
    """Write items as a static catalogue: catalog.json, a collection in a folder, an item a folder, files beside it.

    Args:
        folder: of the catalogue; the items' files lie in it or are served.
        items: as :meth:`Catalogue.item` makes them.
        collection: its name.
        href: from an asset's href to what the item shall say; by default relative to the item.

    Returns:
        The path of catalog.json.
    """
    links, boxes = [], [item["bbox"] for item in items]
    times = sorted(item["properties"]["datetime"] for item in items)
    for item in items:
        path = folder / collection / item["id"] / "item.json"
        path.parent.mkdir(parents=True)
        assets = {key: asset | {"href": (href or relative)(asset["href"])} for key, asset in item["assets"].items()}
        up = [{"rel": "parent", "href": "../collection.json"}, {"rel": "root", "href": "../../catalog.json"}]
        path.write_text(json.dumps(item | {"assets": assets, "collection": collection, "links": up}))
        links.append({"rel": "item", "href": f"./{item['id']}/item.json", "type": "application/geo+json"})
    low, high = np.min(boxes, 0)[:2].tolist(), np.max(boxes, 0)[2:].tolist()
    extent = {"spatial": {"bbox": [[*low, *high]]}, "temporal": {"interval": [[times[0], times[-1]]]}}
    record = {"type": "Collection", "stac_version": "1.0.0", "id": collection, "description": "x", "license": "other"}
    up = [{"rel": "root", "href": "../catalog.json"}, {"rel": "parent", "href": "../catalog.json"}]
    (folder / collection / "collection.json").write_text(json.dumps(record | {"extent": extent, "links": links + up}))
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "static", "description": "x"}
    child = [{"rel": "child", "href": f"./{collection}/collection.json"}, {"rel": "root", "href": "./catalog.json"}]
    (folder / "catalog.json").write_text(json.dumps(root | {"links": child}))
    return folder / "catalog.json"


def relative(href):
    """Return where a served file lies from an item two folders below it."""
    return "../../" + href.partition("?")[0].rpartition("/")[2]


class Handler(BaseHTTPRequestHandler):
    server: Catalogue

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = self.server.url
        self.server.asked.append(self.path)
        name = self.path.partition("?")[0].removeprefix("/files/")
        if self.path.startswith("/files/"):
            path = self.server.folder / name
            if name in self.server.fail or not path.is_file():
                return self.send_error(503)
            content = path.read_bytes()
            return self.answer(content, "image/tiff", cut=self.server.cut.pop(name, 0))
        links = [{"rel": rel, "href": url} for rel in ("self", "root")]
        links.append({"rel": "search", "href": f"{url}/search", "type": "application/geo+json", "method": "POST"})
        rules = [f"https://api.stacspec.org/v1.0.0/{each}" for each in ("core", "item-search", "item-search#query")]
        root = {"type": "Catalog", "stac_version": "1.0.0", "id": "tests", "description": "tests"}
        return self.answer(json.dumps(root | {"links": links, "conformsTo": rules}).encode())

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        most = asked.get("query", {}).get("eo:cloud_cover", {}).get("lte", 100)
        found = [item for item in self.server.items if item["properties"].get("eo:cloud_cover", 0) <= most]
        first, last = asked["datetime"].split("/")
        found = [item for item in found if first <= item["properties"]["datetime"] <= last]
        found = [item for item in found if meet(asked["bbox"], item["bbox"])]
        self.answer(json.dumps({"type": "FeatureCollection", "features": found, "links": []}).encode())

    def answer(self, content, kind="application/json", cut=0):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - cut])


def meet(box, other):
    return box[0] <= other[2] and other[0] <= box[2] and box[1] <= other[3] and other[1] <= box[3]


@contextmanager
def serving(server):
    """Answer requests until the block ends."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
