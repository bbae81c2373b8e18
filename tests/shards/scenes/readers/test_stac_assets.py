"""Items as different catalogues write them, each read as the arrays that its files hold."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import SceneError
from bandloom.sensors import SENSORS
from bandloom.shards.build.sources import find_sources
from bandloom.shards.scenes import open_scene

pytest.importorskip("pystac")
L2A = SENSORS["sentinel2-l2a"]
SIDE_M = 600
COMMON = ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")


def band(path, gsd_m, seed, low=1100, dtype="uint16", **profile):
    side = SIDE_M // gsd_m
    values = np.random.default_rng(seed).integers(low, 30_000 if low > 5000 else 4000, (side, side)).astype(dtype)
    return write(path, values, gsd_m, **profile)


def write(path, values, gsd_m, **profile):
    options = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, gsd_m, gsd_m)} | profile
    with rasterio.open(path, "w", "GTiff", *values.shape, 1, dtype=values.dtype, **options) as raster:
        raster.write(values, 1)
    return values


def item(folder, assets, properties, name="item", **more):
    facts = {"datetime": "2023-06-05T10:30:21Z"} | properties
    record = {"type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None, "links": [], "assets": assets}
    record |= {"properties": facts, "stac_extensions": []} | more
    (folder / f"{name}.json").write_text(json.dumps(record))
    return folder / f"{name}.json"


def read(path, **options):
    with open_scene(path, **options) as scene:
        cloud = scene.cloud((0, 0, SIDE_M, SIDE_M))
        return scene.read((0, 0, SIDE_M, SIDE_M)), scene, cloud


def scl(path, gsd_m=20):
    codes = np.full((SIDE_M // gsd_m,) * 2, 4, np.uint8)
    codes[:3] = 9
    return write(path, codes, gsd_m)


@pytest.fixture
def cdse(tmp_path):
    """Copernicus Data Space: every band at its own sampling and at coarser and finer ones, keys that name them."""
    assets, stored = {}, {}
    for number, each in enumerate(L2A.bands):
        for gsd_m in sorted({10, 20, 60} if each.gsd_m == 10 else {20, 60}):
            key = f"{each.name}_{gsd_m}m"
            values = band(tmp_path / f"{key}.tif", gsd_m, 100 * number + gsd_m)
            assets[key] = {"href": f"./{key}.tif", "bands": [{"name": each.name}], "gsd": gsd_m}
            assets[key] |= {"raster:scale": 0.0001, "raster:offset": -0.1}
            if gsd_m == each.gsd_m:
                stored[each.name] = values
    for gsd_m in (20, 60):
        scl(tmp_path / f"SCL_{gsd_m}m.tif", gsd_m)
        assets[f"SCL_{gsd_m}m"] = {"href": f"./SCL_{gsd_m}m.tif"}
    assets["TCI_10m"] = {"href": "./TCI.tif", "bands": [{"name": n} for n in ("B04", "B03", "B02")]}
    return item(tmp_path, assets, {"platform": "sentinel-2a", "processing:version": "05.09"}), assets, stored


def test_cdse_gives_every_band_as_it_was_measured_and_its_clouds(cdse):
    path, _, stored = cdse
    groups, scene, cloud = read(path)
    for group in L2A.groups:
        for each, pixels in zip(group.bands, groups[group.gsd_m], strict=True):
            np.testing.assert_array_equal(pixels, stored[each.name], each.name)
    assert cloud.mean() == pytest.approx(0.1)
    assert (scene.provenance["offset"], scene.provenance["offset_from"]) == (-1000, "the assets' raster offset")


def test_a_band_that_is_there_as_a_copy_alone_is_refused(cdse):
    path, assets, _ = cdse
    del assets["B01_60m"]
    with pytest.raises(SceneError, match=r"B01 at 20 m alone .B01_20m., a copy .* at 60 m; fetch .* B01_60m"):
        open_scene(item(path.parent, assets, {"platform": "sentinel-2a"}))


@pytest.fixture
def earth_search_v0(tmp_path):
    def make(properties, platform="sentinel-2b", scl_key="SCL"):
        assets, stored = {}, {}
        for number, each in enumerate(L2A.bands):
            stored[each.name] = band(tmp_path / f"{each.name}.tif", each.stored_gsd_m, number)
            told = [{"name": each.name, "common_name": "rededge" if each.name < "B08" else "x"}]
            assets[each.name] = {"href": f"{each.name}.tif", "eo:bands": told}
        scl(tmp_path / "SCL.tif")
        assets[scl_key] = {"href": "SCL.tif"}
        assets["overview"] = {"href": "o.tif", "eo:bands": [{"name": n} for n in ("B04", "B03", "B02")]}
        return item(tmp_path, assets, {"platform": platform} | properties), stored

    return make


@pytest.mark.parametrize(
    ("properties", "added"),
    [
        ({"sentinel:boa_offset_applied": True, "sentinel:processing_baseline": "04.00"}, 1000),
        ({"sentinel:boa_offset_applied": False, "sentinel:processing_baseline": "04.00"}, 0),
        ({"sentinel:boa_offset_applied": "true", "sentinel:processing_baseline": "05.09"}, 1000),
        ({"sentinel:processing_baseline": "02.14"}, 1000),
        ({"s2:processing_baseline": "05.11"}, 0),
        ({"s2:product_uri": "S2B_MSIL2A_20230605T101559_N0509_R065_T33UVP_20230605T130159.SAFE"}, 0),
        ({"s2:product_uri": "S2B_MSIL2A_20200605T101559_N0214_R065_T33UVP_20200605T130159.SAFE"}, 1000),
        ({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}, 1000),
    ],
)
def test_flags_and_baselines_of_every_catalogue_decide_the_offset(earth_search_v0, properties, added):
    path, stored = earth_search_v0(properties)
    groups, _, cloud = read(path)
    np.testing.assert_array_equal(groups[10][0], stored["B02"] + added)
    assert cloud.mean() == pytest.approx(0.1)


@pytest.mark.parametrize("platform", ["Sentinel-2A", "sentinel-2c", "SENTINEL_2B", "S2A", "sentinel2b"])
@pytest.mark.parametrize("key", ["scl", "SCL_20m", "SCL"])
def test_platforms_and_masks_are_known_however_they_are_spelt(earth_search_v0, platform, key):
    path, _ = earth_search_v0({"s2:processing_baseline": "05.11"}, platform, key)
    _, scene, cloud = read(path)
    assert scene.sensor.name == "sentinel2-l2a"
    assert cloud is not None


def test_an_offset_that_nothing_dark_can_prove_is_warned_of(earth_search_v0, tmp_path, caplog):
    path, _ = earth_search_v0({"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "05.09"})
    read(path)
    assert "dark enough" not in caplog.text
    for number, each in enumerate(L2A.bands):
        band(tmp_path / f"{each.name}.tif", each.stored_gsd_m, number, low=3000)
    read(path)
    assert "nothing in it is dark enough to prove it (the darkest value is 300" in caplog.text


@pytest.fixture
def usgs(tmp_path):
    """USGS landsatlook: LANDSAT_9, bands named B1 .. B7, no scale in the item."""

    def make(level="2", **properties):
        names, assets, stored = COMMON + (("cirrus",) if level == "1" else ()), {}, {}
        for number, key in enumerate(names, 1):
            number = 9 if key == "cirrus" else number
            stored[f"B{number}"] = band(tmp_path / f"{key}.TIF", 30, number, low=7500)
            told = [{"name": f"B{number}", "common_name": key, "gsd": 30}]
            assets[key] = {"href": f"{key}.TIF", "eo:bands": told}
        write(tmp_path / "qa.TIF", np.full((20, 20), 1 << 6, np.uint16), 30)
        assets["qa_pixel"] = {"href": "qa.TIF"}
        assets["lwir11"] = {"href": "no.TIF", "eo:bands": [{"name": "B10", "common_name": "lwir11"}]}
        facts = {"platform": "LANDSAT_9", "landsat:correction": f"L{level}SP", "view:sun_elevation": 30.0}
        facts |= {"landsat:collection_number": "02"}
        return item(tmp_path, assets, facts | properties, collection=f"landsat-c2l{level}-sr"), stored

    return make


@pytest.mark.parametrize("platform", ["LANDSAT_9", "landsat-8", "Landsat 9", "LC08"])
@pytest.mark.parametrize("level", ["1", "2"])
def test_usgs_items_take_collection_2s_scale_and_landsats_own_bands(usgs, platform, level):
    path, stored = usgs(level, platform=platform)
    groups, scene, _ = read(path)
    gain, offset = (2e-5 / 0.5, -0.1 / 0.5) if level == "1" else (2.75e-5, -0.2)
    order = [band.name for band in scene.sensor.groups[0].bands]
    for name, pixels in zip(order, groups[30], strict=True):
        wanted = np.clip(np.rint((stored[name] * gain + offset) * 1e4) + 1000, 1, 65534)
        np.testing.assert_array_equal(pixels, wanted, name)


@pytest.mark.parametrize("properties", [{"platform": "LANDSAT_7"}, {"landsat:collection_number": "01"}])
def test_landsat_items_of_another_kind_are_refused(usgs, properties):
    path, _ = usgs(**properties)
    with pytest.raises(SceneError, match=r"platform LANDSAT_7|collection 01"):
        open_scene(path)


@pytest.mark.parametrize(("kind", "platform"), [("S30", "sentinel-2a"), ("L30", None)])
def test_hls_items_are_read_as_hls_granules_are(tmp_path, kind, platform):
    sensor, assets, stored = SENSORS[f"hls-{kind.lower()}"], {}, {}
    for number, each in enumerate(sensor.bands):
        values = band(tmp_path / f"{each.name}.tif", 30, number, dtype="int16", nodata=-9999)
        values[0, 0] = -9999
        stored[each.name] = write(tmp_path / f"{each.name}.tif", values, 30, nodata=-9999)
        assets[each.name] = {"href": f"{each.name}.tif"}
    mask = np.zeros((20, 20), np.uint8)
    mask[5, 5] = 2
    write(tmp_path / "Fmask.tif", mask, 30)
    assets["Fmask"] = {"href": "Fmask.tif"}
    path = item(tmp_path, assets, {"platform": platform}, name=f"HLS.{kind}.T33UVP.2023156T103021.v2.0")
    groups, scene, cloud = read(path)
    assert scene.sensor.name == sensor.name
    for name, pixels in zip([band.name for band in sensor.groups[0].bands], groups[30], strict=True):
        np.testing.assert_array_equal(pixels, np.where(stored[name] == -9999, 0, stored[name] + 1000), name)
    assert cloud.sum() == 9


def test_a_collection_of_items_is_as_many_scenes(earth_search_v0, tmp_path):
    path, stored = earth_search_v0({"s2:processing_baseline": "05.11"})
    one = json.loads(path.read_text())
    path.unlink()
    items = {"type": "FeatureCollection", "features": [one | {"id": "first.one"}, one | {"id": "second"}]}
    (tmp_path / "found.json").write_text(json.dumps(items))
    sources = find_sources([str(tmp_path / "found.json")])
    assert [source.key for source in sources] == ["first-one", "second"]
    groups, scene, _ = read(sources[1].path)
    np.testing.assert_array_equal(groups[10][0], stored["B02"])
    assert scene.name == "second"
    with pytest.raises(SceneError, match=r"holds 2 items .first\.one, second, \.\.\..; name one"):
        open_scene(tmp_path / "found.json")


@pytest.fixture
def own_item(tmp_path):
    """An item that its user made of baseline 05.09, whose bands say of themselves what is asked."""

    def make(told, folder="", file="item", **properties):
        root = tmp_path / "scene"
        (root / folder).mkdir(parents=True)
        assets, stored = {}, {}
        for number, each in enumerate(L2A.bands):
            stored[each.name] = band(root / folder / f"{each.name}.tif", each.stored_gsd_m, number)
            href = f"{folder}/{each.name}.tif".removeprefix("/").replace(" ", "%20")
            assets[each.name] = {"href": href} | told(each.name)
        facts = {"platform": "sentinel-2a", "s2:processing_baseline": "05.09"} | properties
        return item(root, assets, facts, file), stored

    return make


def scales(scale, offset):
    return {"raster:bands": [{"scale": scale, "offset": offset}]}


def test_a_scale_of_1_that_rio_stac_copies_from_gdal_states_nothing(own_item):
    path, stored = own_item(lambda band: scales(1.0, 0.0) | {"eo:bands": [{"name": "b1", "description": "gray"}]})
    groups, scene, _ = read(path)
    np.testing.assert_array_equal(groups[20][3], stored["B8A"])
    assert (scene.provenance["offset"], scene.provenance["offset_from"]) == (-1000, "the item's processing baseline")


@pytest.mark.parametrize(
    ("told", "properties", "sentence"),
    [
        (lambda band: scales(0.0002, 0.0), {}, r"states scale 0\.0002 and offset 0 for B01 .* expected 0\.0001"),
        (lambda band: scales(1e-4, 0 if band == "B01" else -0.1), {}, "pass --offset"),
        (lambda band: {}, {"s2:processing_baseline": "99.99"}, "pass --offset"),
    ],
)
def test_what_items_state_otherwise_or_of_some_bands_is_not_passed_over(own_item, told, properties, sentence):
    path, _ = own_item(told, **properties)
    with pytest.raises(SceneError, match=sentence):
        open_scene(path)


def test_a_composite_has_no_date_and_an_instant_that_is_given_as_an_interval_has(own_item, tmp_path, caplog):
    span = {"datetime": None, "start_datetime": "2023-01-01T00:00:00Z", "end_datetime": "2023-12-31T00:00:00Z"}
    path, _ = own_item(lambda band: {}, **span)
    assert read(path)[1].datetime is None
    assert "covers 2023-01-01 to 2023-12-31" in caplog.text
    record = json.loads(path.read_text())
    record["properties"]["end_datetime"] = "2023-01-01T00:00:01Z"
    path.write_text(json.dumps(record))
    assert read(path)[1].datetime.isoformat() == "2023-01-01T00:00:00+00:00"


def test_an_item_beside_its_rasters_is_read_whatever_it_is_called(own_item):
    path, stored = own_item(lambda band: {}, file="S2A_33UVP")
    assert [source.path for source in find_sources([str(path.parent)])] == [str(path.parent)]
    groups, scene, _ = read(path.parent)
    np.testing.assert_array_equal(groups[10][0], stored["B02"])
    assert scene.datetime.isoformat() == "2023-06-05T10:30:21+00:00"
    write(path.parent / "another.tif", stored["B02"], 10)  # which the item does not name
    with pytest.raises(SceneError, match="pass --offset"):
        read(path.parent)


def test_hrefs_are_addresses(own_item):
    path, stored = own_item(lambda band: {}, folder="my bands")
    np.testing.assert_array_equal(read(path)[0][10][0], stored["B02"])


def test_two_items_of_one_id_are_told_apart_by_files(own_item, tmp_path):
    record = json.loads(own_item(lambda band: {})[0].read_text())
    (tmp_path / "all.json").write_text(json.dumps({"type": "FeatureCollection", "features": [record, record]}))
    [source] = find_sources([str(tmp_path / "all.json")])
    with pytest.raises(SceneError, match="holds 2 items called item; give each a file of its own"):
        open_scene(source.path)
