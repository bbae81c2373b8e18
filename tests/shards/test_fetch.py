import hashlib

import numpy as np
import pytest
import rasterio

from bandloom.errors import SceneError
from bandloom.shards.fetch import Search, fetch, search
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from tests.shards.stac_catalogue import Catalogue, serving

pytest.importorskip("pystac_client")
BBOX, DATES = (14.0, 44.0, 16.0, 46.0), "2023-06-01/2023-06-30"


@pytest.fixture(name="catalogue")
def a_catalogue(tmp_path):
    (tmp_path / "served").mkdir()
    with serving(Catalogue(tmp_path / "served")) as server:
        server.items = [server.item("clear", 3.0), server.item("cloudy", 80.0)]
        yield server


def test_a_search_asks_for_place_time_and_cloud_and_gives_the_clearest_first(catalogue):
    found = search(Search(catalogue.url, "sentinel-2-l2a", BBOX, DATES))
    assert [item["id"] for item in found] == ["S2A_clear", "S2A_cloudy"]
    assert [i["id"] for i in search(Search(catalogue.url, "sentinel-2-l2a", BBOX, DATES, max_cloud=20))] == [
        "S2A_clear"
    ]
    asked = [each for each in catalogue.asked if isinstance(each, dict)][-1]
    assert asked["collections"] == ["sentinel-2-l2a"]
    assert asked["bbox"] == list(BBOX)
    assert asked["datetime"] == "2023-06-01T00:00:00Z/2023-06-30T23:59:59Z"
    assert asked["query"] == {"eo:cloud_cover": {"lte": 20}}
    with pytest.raises(SceneError, match="has no item of 'sentinel-2-l2a' there and then"):
        search(Search(catalogue.url, "sentinel-2-l2a", (100.0, 1.0, 101.0, 2.0), DATES))
    with pytest.raises(SceneError, match="cannot be searched"):
        search(Search("http://127.0.0.1:1", "sentinel-2-l2a", BBOX, DATES))


def test_from_the_command_line_to_shards(catalogue, tmp_path, command):
    arguments = ["shards", "fetch", "--api", catalogue.url, "--bbox", "14,44,16,46", "--dates", DATES]
    code, said = command(*arguments, "--out", tmp_path / "raw", "--dry-run")
    assert (code, "2 items" in said, "S2A_clear  2023-06-05T10:30  3.0 % cloud" in said) == (0, True, True)
    assert not (tmp_path / "raw").exists()
    code, said = command(*arguments, "--out", tmp_path / "raw", "--max-cloud", "20")
    assert code == 0, said
    assert sorted(p.name for p in (tmp_path / "raw/S2A_clear").iterdir())[:2] == ["SHA256SUMS", "clear_B01.tif"]
    with open_scene(tmp_path / "raw/S2A_clear") as scene, rasterio.open(tmp_path / "served/clear_B8A.tif") as served:
        np.testing.assert_array_equal(scene.read((0, 0, 600, 600))[20][3], served.read(1))
    assert command("shards", "build", tmp_path / "raw", "--side", "60", "--out", tmp_path / "out")[0] == 0
    assert ShardSet(tmp_path / "out").entries[0].datetime == "2023-06-05T10:30:21+00:00"
    code, said = command(*arguments, "--out", tmp_path / "raw", "--assets", "B99")
    assert (code, "has no asset 'B99'" in " ".join(said.split())) == (2, True)


def test_a_broken_fetch_leaves_no_half_file_and_goes_on_without_fetching_twice(catalogue, tmp_path):
    items = search(Search(catalogue.url, "sentinel-2-l2a", BBOX, DATES, max_cloud=20))
    catalogue.cut["clear_B05.tif"] = 100
    with pytest.raises(SceneError, match=r"clear_B05\.tif.* run the same command again"):
        fetch(items, tmp_path / "raw")
    folder = tmp_path / "raw/S2A_clear"
    whole = {path.name for path in folder.glob("*.tif")}
    assert "clear_B05.tif" not in whole
    assert not list(folder.glob(".*"))
    before = len(catalogue.asked)
    assert fetch(items, tmp_path / "raw") == [folder]
    assert len(catalogue.asked) - before == 12 - len(whole)
    before = len(catalogue.asked)
    assert fetch(items, tmp_path / "raw") == [folder]
    assert len(catalogue.asked) == before


@pytest.mark.parametrize("stated", [("file:checksum", "file:size"), ("file:size",), ()])
def test_a_file_that_has_changed_in_the_catalogue_is_fetched_again(catalogue, tmp_path, caplog, stated):
    (item, _), key = catalogue.items, "B02"
    whole = dict(item["assets"][key])

    def state(content: bytes) -> None:
        told = {"file:checksum": "1220" + hashlib.sha256(content).hexdigest(), "file:size": len(content)}
        item["assets"][key] = {name: value for name, value in whole.items() if name not in told}
        item["assets"][key] |= {name: told[name] for name in stated}

    path = catalogue.folder / "clear_B02.tif"
    state(path.read_bytes())
    (folder,) = fetch([item], tmp_path / "out", [key])
    before = (folder / "clear_B02.tif").read_bytes()
    asked = len(catalogue.asked)
    fetch([item], tmp_path / "out", [key])
    assert len(catalogue.asked) == asked + (not stated)
    assert not caplog.text
    longer = before + bytes(100)
    path.write_bytes(longer)
    state(longer)
    fetch([item], tmp_path / "out", [key])
    assert (folder / "clear_B02.tif").read_bytes() == longer
    assert "clear_B02.tif is not what the catalogue has now; it is fetched again" in caplog.text


def test_a_file_that_arrives_changed_is_refused_and_one_bad_item_does_not_stop_the_rest(catalogue, tmp_path):
    items = search(Search(catalogue.url, "sentinel-2-l2a", BBOX, DATES))
    path = tmp_path / "served/clear_B03.tif"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert fetch(items, tmp_path / "raw") == [tmp_path / "raw/S2A_cloudy"]
    with pytest.raises(SceneError, match="arrived damaged"):
        fetch(items[:1], tmp_path / "raw")
    catalogue.fail.add("clear_B03.tif")
    with pytest.raises(SceneError, match=r"cannot be fetched \(HTTP Error 503"):
        fetch(items[:1], tmp_path / "raw")
