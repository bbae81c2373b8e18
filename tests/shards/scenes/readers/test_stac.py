import hashlib
import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import SceneError
from bandloom.sensors import SENSORS
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene

pytest.importorskip("pystac")
COMMON = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B11": "swir16",
    "B12": "swir22",
}


def write_band(path, pixels, gsd_m, nodata=0):
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, gsd_m, gsd_m), "nodata": nodata}
    with rasterio.open(path, "w", "GTiff", len(pixels), len(pixels), 1, dtype=pixels.dtype, **place) as raster:
        raster.write(pixels, 1)


@pytest.fixture
def write_item(tmp_path):
    """Write a Sentinel-2 L2A item the way Earth Search lays it out: assets by common name, STAC 1.0."""

    def write(properties=None, offset=-0.1, version="1.0.0", names=COMMON):
        root, rng, assets, stored = tmp_path / "S2A_33UVP_20230605_0_L2A", np.random.default_rng(1), {}, {}
        root.mkdir()
        for band in SENSORS["sentinel2-l2a"].bands:
            side = 600 // band.stored_gsd_m
            stored[band.name] = rng.integers(1100, 4000, (side, side), dtype=np.uint16)
            write_band(root / f"{names[band.name]}.tif", stored[band.name], band.stored_gsd_m)
            assets[names[band.name]] = {
                "href": f"./{names[band.name]}.tif",
                "roles": ["data"],
                "eo:bands": [{"name": names[band.name]}],
            }
            if offset is not None:
                assets[names[band.name]]["raster:bands"] = [{"nodata": 0, "scale": 0.0001, "offset": offset}]
        assets["visual"] = {"href": "./TCI.tif", "eo:bands": [{"name": n} for n in ("red", "green", "blue")]}
        assets["red-jp2"] = {"href": "s3://nowhere/B04.jp2", "eo:bands": [{"name": "red"}]}
        scl = np.full((30, 30), 4, np.uint8)
        scl[0, 0] = 9
        write_band(root / "SCL.tif", scl, 20)
        assets["scl"] = {"href": "./SCL.tif"}
        facts = {"datetime": "2023-06-05T10:30:21Z", "platform": "sentinel-2a", "view:sun_elevation": 60.1}
        item = {
            "type": "Feature",
            "stac_version": version,
            "id": root.name,
            "geometry": None,
            "links": [],
            "properties": facts | (properties or {}),
            "assets": assets,
            "stac_extensions": [],
        }
        (root / "item.json").write_text(json.dumps(item))
        return root, stored

    return write


def read(path, **options):
    with open_scene(path, **options) as scene:
        return scene.read((0, 0, 600, 600)), scene


def test_assets_become_bands_by_their_common_names(write_item):
    root, stored = write_item()
    groups, scene = read(root)
    assert (scene.sensor.name, scene.name) == ("sentinel2-l2a", "S2A_33UVP_20230605_0_L2A")
    assert scene.datetime.isoformat() == "2023-06-05T10:30:21+00:00"
    for group in scene.sensor.groups:
        for band, pixels in zip(group.bands, groups[group.gsd_m], strict=True):
            np.testing.assert_array_equal(pixels, stored[band.name])
    with open_scene(root / "item.json") as again:
        assert again.cloud((0, 0, 600, 600)).sum() == 4


def test_assets_named_like_bands_and_the_older_stac_are_read_too(write_item):
    root, stored = write_item(
        names={band: band for band in COMMON},
        version="0.9.0",
        offset=None,
        properties={"s2:processing_baseline": "05.09"},
    )
    groups, scene = read(root)
    np.testing.assert_array_equal(groups[20][3], stored["B8A"])
    assert (scene.provenance["offset"], scene.provenance["offset_from"]) == (-1000, "the item's processing baseline")


@pytest.mark.parametrize(
    ("properties", "offset", "added", "why"),
    [
        ({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}, -0.1, 1000, "boa_offset_applied"),
        ({"earthsearch:boa_offset_applied": False}, -0.1, 0, "raster offset"),
        ({"s2:processing_baseline": "05.09"}, None, 0, "processing baseline"),
        ({"s2:processing_baseline": "02.14"}, None, 1000, "processing baseline"),
        ({"s2:processing_baseline": "02.14"}, 0, 1000, "raster offset"),
    ],
)
def test_the_offset_is_taken_once_whoever_took_it(write_item, properties, offset, added, why):
    root, stored = write_item(properties, offset)
    groups, scene = read(root)
    np.testing.assert_array_equal(groups[10][0], stored["B02"] + added)
    assert why in scene.provenance["offset_from"]


def test_an_item_that_says_nothing_of_its_offset_asks_for_it(write_item):
    root, stored = write_item(offset=None)
    with pytest.raises(SceneError, match="pass --offset"):
        open_scene(root)
    groups, _ = read(root, offset=0)
    np.testing.assert_array_equal(groups[10][0], stored["B02"] + 1000)


OLI = {"B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "nir08", "B6": "swir16", "B7": "swir22"}


@pytest.fixture
def write_landsat_item(tmp_path):
    """Write a Landsat 8 item the way USGS and Earth Search lay it out; its file, the item, and what its bands store."""

    def write(level):
        names, rng, assets = OLI | ({"B9": "cirrus"} if level == "1" else {}), np.random.default_rng(2), {}
        scale = {"scale": 2e-5, "offset": -0.1} if level == "1" else {"scale": 2.75e-05, "offset": -0.2}
        stored = {band: rng.integers(7300, 30000, (20, 20), dtype=np.uint16) for band in names}
        for band, name in names.items():
            write_band(tmp_path / f"{name}.tif", stored[band], 30)
            assets[name] = {
                "href": f"{name}.tif",
                "eo:bands": [{"name": f"OLI_{band}", "common_name": name}],
                "raster:bands": [scale],
            }
        pixel, radsat = np.full((20, 20), 0b1000000, np.uint16), np.zeros((20, 20), np.uint16)
        pixel[0, 0], pixel[1, 1], radsat[3, 3] = 1, 0b1000, 1 << 3  # fill, cloud, B4 saturated
        for key, pixels in (("qa_pixel", pixel), ("qa_radsat", radsat)):
            write_band(tmp_path / f"{key}.tif", pixels, 30, nodata=None)
            assets[key] = {"href": f"{key}.tif"}
        facts = {
            "datetime": "2024-01-10T03:27:39Z",
            "platform": "landsat-8",
            "view:sun_elevation": 40.0,
            "landsat:correction": f"L{level}{'TP' if level == '1' else 'SP'}",
        }
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"LC08_L{level}",
            "geometry": None,
            "links": [],
            "properties": facts,
            "assets": assets,
        }
        (tmp_path / "item.json").write_text(json.dumps(item))
        return tmp_path / "item.json", item, stored

    return write


@pytest.mark.parametrize("level", ["1", "2"])
def test_landsat_items_are_scaled_and_masked_as_landsat_products_are(write_landsat_item, level):
    file, _, stored = write_landsat_item(level)
    groups, scene = read(file)
    assert scene.sensor.name == f"landsat89-l{level}"
    stated = 2e-5 * stored["B5"] - 0.1 if level == "1" else 2.75e-5 * stored["B5"] - 0.2
    wanted = np.rint(stated / (np.sin(np.radians(40.0)) if level == "1" else 1) * 1e4) + 1000
    wanted[0, 0] = 0
    np.testing.assert_array_equal(groups[30][4], wanted)
    assert groups[30][3, 3, 3] == 65535
    assert (groups[30][:, 0, 0] == 0).all()
    with open_scene(file) as scene:
        cloud = scene.cloud((0, 0, 600, 600))
    assert cloud.sum() == 9
    assert cloud[3:6, 3:6].all()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda item: item["assets"]["red"].pop("raster:bands"), "does not state the scale of B4"),
        (lambda item: item["assets"]["red"].update({"raster:bands": [{"scale": 1.0}]}), "Collection 2 has"),
        (lambda item: item["properties"].pop("view:sun_elevation"), "does not state view:sun_elevation"),
        (lambda item: item["properties"].update({"view:sun_elevation": -3.0}), "sun at -3.0 degrees"),
        (lambda item: item["assets"].pop("qa_pixel"), "no asset qa_pixel"),
    ],
)
def test_a_landsat_item_that_lacks_what_reflectance_needs_is_refused(write_landsat_item, spoil, sentence):
    file, item, _ = write_landsat_item("1")
    spoil(item)
    file.write_text(json.dumps(item))
    with pytest.raises(SceneError, match=sentence):
        open_scene(file)


def test_missing_bands_strange_platforms_and_damaged_assets_are_refused(write_item):
    root, _ = write_item()
    item = json.loads((root / "item.json").read_text())
    item["assets"]["red"]["file:checksum"] = "1220" + hashlib.sha256((root / "red.tif").read_bytes()).hexdigest()
    (root / "item.json").write_text(json.dumps(item))
    open_scene(root).close()
    content = bytearray((root / "red.tif").read_bytes())
    content[-9] ^= 1
    (root / "red.tif").write_bytes(content)
    with pytest.raises(SceneError, match=r"red\.tif is damaged"):
        open_scene(root)
    del item["assets"]["red"], item["assets"]["red-jp2"]
    (root / "item.json").write_text(json.dumps(item))
    with pytest.raises(SceneError, match="no asset for band B04"):
        open_scene(root)
    item["properties"]["platform"] = "envisat"
    (root / "item.json").write_text(json.dumps(item))
    with pytest.raises(SceneError, match="platform envisat"):
        open_scene(root)
    (root / "item.json").write_text('{"stac_version": "1.0.0", "assets": 3}')
    with pytest.raises(SceneError, match="no readable STAC item"):
        open_scene(root)


def test_items_in_a_geojson_file_are_the_same_alone_and_of_a_collection(write_item, tmp_path):
    """Both endings are of the media type of items; .geojson was refused as holding no scene."""
    root, _ = write_item()
    with open_scene(root / "item.json") as scene:
        wanted, name = scene.read((0, 0, 600, 600)), scene.name
    item = json.loads((root / "item.json").read_text())
    (root / "one.geojson").write_text(json.dumps(item))
    (root / "all.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    for path in (root / "one.geojson", f"{root / 'all.geojson'}#{item['id']}"):
        with open_scene(path) as scene:
            assert scene.name == name
            assert all(np.array_equal(dn, wanted[gsd]) for gsd, dn in scene.read((0, 0, 600, 600)).items())
    for number, path in enumerate((root / "one.geojson", root / "all.geojson")):
        build([str(path)], tmp_path / f"out-{number}", BuildOptions(60))
        assert len(ShardSet(tmp_path / f"out-{number}").entries) == 1


def test_folders_of_items_build(write_item, tmp_path):
    root, _ = write_item()
    build([str(root.parent)], tmp_path / "out", BuildOptions(60))
    assert [e.key for e in ShardSet(tmp_path / "out").entries] == ["S2A_33UVP_20230605_0_L2A_r0000_c0000"]
