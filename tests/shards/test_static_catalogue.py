"""Static catalogues, on disk and served, against the same items asked of a STAC API."""

import datetime as dt
import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bandloom.errors import SceneError
from bandloom.shards.fetch import Search, fetch, search
from bandloom.shards.static_catalogue import _is_there, address_of, span_of
from tests.shards.stac_catalogue import CORNER, Catalogue, serving, write_static

pytest.importorskip("pystac_client")
BBOX, DATES = (14.0, 44.0, 16.0, 46.0), "2023-06-01/2023-06-30"
KIND = "sentinel-2-l2a"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def files_served(folder):
    """Serve a folder as a plain web server does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(name="made", scope="module")
def a_catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    catalogue = Catalogue(folder)
    next_tile = (CORNER[0] + 500_000, CORNER[1])
    catalogue.items = [
        catalogue.item("clear", 3.0, side_m=120),
        catalogue.item("cloudy", 80.0, side_m=120),
        catalogue.item("later", 1.0, day="2023-07-15", side_m=120),
        catalogue.item("elsewhere", 0.0, next_tile, side_m=120),
    ]
    path = write_static(folder, catalogue.items)
    with serving(catalogue):
        yield catalogue, path


@pytest.mark.parametrize("dates", [DATES, "2023-06-05", "2023-07", "../2023-06-30", "2023-06-05T10:30:21Z"])
def test_it_gives_what_an_api_with_these_items_gives(made, dates):
    catalogue, path = made
    names = [item["id"] for item in search(Search(str(path), KIND, BBOX, dates))]
    first, last = span_of(dates)
    expected = [
        item
        for item in catalogue.items
        if (first is None or dt.datetime.fromisoformat(item["properties"]["datetime"]) >= first)
        and (last is None or dt.datetime.fromisoformat(item["properties"]["datetime"]) <= last)
        and item["id"] != "S2A_elsewhere"
    ]
    assert names == [item["id"] for item in sorted(expected, key=lambda item: item["properties"]["eo:cloud_cover"])]
    if dates == DATES:
        assert names == [item["id"] for item in search(Search(catalogue.url, KIND, BBOX, dates))]


def test_its_files_are_fetched_from_disk_and_by_http_alike(made, tmp_path):
    catalogue, path = made
    (on_disk,) = search(Search(str(path.parent), KIND, BBOX, DATES, max_cloud=20))  # the folder does, too
    with files_served(path.parent) as address:
        (served,) = search(Search(f"{address}/catalog.json", KIND, BBOX, DATES, max_cloud=20))
        assert served["assets"]["B04"]["href"] == f"{address}/clear_B04.tif"
        fetch([served], tmp_path / "served")
    fetch([on_disk], tmp_path / "disk")
    for name in ("clear_B04.tif", "clear_B11.tif"):
        content = (catalogue.folder / name).read_bytes()
        assert (tmp_path / "served/S2A_clear" / name).read_bytes() == content
        assert (tmp_path / "disk/S2A_clear" / name).read_bytes() == content


def test_items_in_one_file_and_a_collection_alone_are_read_too(made, tmp_path):
    catalogue, path = made
    file = path.parent / "items.geojson"
    features = [json.loads(one.read_text()) for one in sorted(path.parent.glob(f"{KIND}/*/item.json"))]
    for feature in features:
        for asset in feature["assets"].values():
            asset["href"] = asset["href"].removeprefix("../../")
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    for address in (file, path.parent / KIND / "collection.json", path.parent / KIND):
        items = search(Search(str(address), KIND, BBOX, DATES))
        assert [item["id"] for item in items] == ["S2A_clear", "S2A_cloudy"]
        assert items[0]["assets"]["B04"]["href"] == str(catalogue.folder / "clear_B04.tif")


def test_pages_that_link_in_a_circle_are_read_once_and_a_collection_elsewhere_not_at_all(made, tmp_path):
    catalogue, _ = made
    path = write_static(tmp_path, catalogue.items[:2])
    root = json.loads(path.read_text())
    root["links"] += [
        {"rel": "child", "href": "./catalog.json"},
        {"rel": "child", "href": f"./{KIND}/collection.json"},
        {"rel": "child", "href": "./far/collection.json"},
    ]
    path.write_text(json.dumps(root))
    (tmp_path / "far").mkdir()
    far = json.loads((tmp_path / KIND / "collection.json").read_text())
    far["extent"]["spatial"]["bbox"] = [[100, 0, 101, 1]]
    far["links"] = [{"rel": "item", "href": "./missing.json"}]
    (tmp_path / "far/collection.json").write_text(json.dumps(far))
    assert [item["id"] for item in search(Search(str(path), KIND, BBOX, DATES))] == ["S2A_clear", "S2A_cloudy"]


def test_what_is_no_catalogue_or_holds_other_collections_is_refused_in_one_sentence(made, tmp_path):
    _, path = made
    with pytest.raises(SceneError, match=r"there and then of sentinel-2-l2a, and none of 'landsat'; name its --coll"):
        search(Search(str(path), "landsat", BBOX, DATES))
    with pytest.raises(SceneError, match=r"there is no catalogue at .*absent; name a catalog.json"):
        address_of(str(tmp_path / "absent"))
    with pytest.raises(SceneError, match="there is no catalogue at"):
        address_of(str(tmp_path))
    (tmp_path / "other.json").write_text('{"name": "x"}')
    with pytest.raises(SceneError, match="is no STAC catalogue, collection or items"):
        search(Search(str(tmp_path / "other.json"), KIND, BBOX, DATES))
    (tmp_path / "torn.json").write_text('{"type": "Cat')
    with pytest.raises(SceneError, match=r"torn\.json cannot be searched"):
        search(Search(str(tmp_path / "torn.json"), KIND, BBOX, DATES))
    links = [{"rel": "item", "href": "./gone.json"}]
    (tmp_path / "catalog.json").write_text(
        json.dumps({"type": "Catalog", "id": "x", "description": "x", "stac_version": "1.0.0", "links": links})
    )
    with pytest.raises(SceneError, match=r"cannot be searched .*gone.json"):
        search(Search(str(tmp_path), KIND, BBOX, DATES))
    with pytest.raises(SceneError, match="has no item of 'sentinel-2-l2a' there and then"):
        search(Search(str(path), KIND, (100.0, 0.0, 101.0, 1.0), DATES))


@pytest.mark.parametrize(
    ("box", "stated", "meets"),
    [
        ((10, 40, 12, 41), (11, 40, 13, 42), True),
        ((10, 40, 12, 41), (13, 40, 14, 42), False),
        ((10, 40, 12, 41), (11, 42, 13, 43), False),
        ((179, -1, -179, 1), (178, -2, 179.5, 2), True),
        ((179, -1, -179, 1), (-180, -2, -179.5, 2), True),
        ((179, -1, -179, 1), (170, -2, 178, 2), False),
        ((-180, -1, -179, 1), (178, -2, -179.5, 2), True),
        ((10, 40, 12, 41), (-180, -90, 180, 90), True),
        ((10, 40, 12, 41), (11, 40, 0, 13, 42, 900), True),
        ((10, 40, 12, 41), None, True),
    ],
)
def test_boxes_meet_on_both_sides_of_the_antimeridian(box, stated, meets):
    assert _is_there(box, stated) is meets
