"""Polygons, points and tables, each against boxes painted by plain arithmetic."""

import json
import warnings

import numpy as np
import pytest
from rasterio import features
from rasterio.crs import CRS
from rasterio.warp import transform, transform_geom

from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.errors import LabelError
from bandloom.shards.labels.label_polygons import LabelPolygons
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, LabelReading

GROUND = Ground(CRS.from_epsg(32633), 500_040.0, 5_300_040.0, 60, 48, "scene")
TWO = Taxonomy.from_dict(
    {"name": "two", "ignore": [0], "classes": [{"code": 1, "name": "water"}, {"code": 2, "name": "forêt"}]}, "two"
)
A, B = (33, 22, 247, 318), (144, 61, 399, 205)  # metres right of and below the corner


def box(edges, epsg=32633, **more):
    left, top, right, bottom = edges
    xs, ys = (GROUND.x_m + left, GROUND.x_m + right), (GROUND.y_m - top, GROUND.y_m - bottom)
    ring = [[xs[0], ys[0]], [xs[1], ys[0]], [xs[1], ys[1]], [xs[0], ys[1]], [xs[0], ys[0]]]
    return transform_geom(GROUND.crs, f"EPSG:{epsg}", {"type": "Polygon", "coordinates": [ring]}) | more


def painted(*pairs):
    y, x = np.mgrid[: GROUND.height, : GROUND.width] * 10 + 5
    out = np.full((GROUND.height, GROUND.width), 255)
    for (left, top, right, bottom), index in pairs:
        out[(x > left) & (x < right) & (y > top) & (y < bottom)] = index
    return out


def geojson(path, *rows, name="class", crs="EPSG:32633", encoding="utf-8", bom=""):
    found = [{"type": "Feature", "geometry": shape, "properties": {name: value}} for shape, value in rows]
    record = {"type": "FeatureCollection", "features": found}
    record |= {"crs": {"type": "name", "properties": {"name": crs}}} if isinstance(crs, str) else {"crs": crs}
    path.write_bytes((bom + json.dumps(record, ensure_ascii=False)).encode(encoding))
    return path


def ogr(path, *rows, column=None, layer=None, **more):
    raw, shapely = pytest.importorskip("pyogrio.raw"), pytest.importorskip("shapely")
    shapes = [None if shape is None else shapely.to_wkb(shapely.geometry.shape(shape)) for shape, _ in rows]
    values = np.array([value for _, value in rows], object) if column is None else column
    options = {"geometry_type": "Polygon", "crs": "EPSG:32633", "layer": layer} | more
    raw.write(path, np.array(shapes, object), [values], ["class"], append=path.exists(), **options)
    return path


def read(path, taxonomy=TWO, **reading):
    problems = Problems()
    labels = LabelPolygons(path, GROUND, taxonomy, LabelReading(**reading), problems)
    problems.raise_first()
    return labels.read(GROUND.whole_m), problems.found


@pytest.mark.parametrize("value", [1, 1.0, "1", "1.0", "01", "Water", " WATER "])
def test_a_code_column_gives_its_class_however_it_is_typed(tmp_path, value):
    found, _ = read(geojson(tmp_path / "a.geojson", (box(A), value), (box(B), "forêt")))
    np.testing.assert_array_equal(found, painted((A, 0), (B, 1)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.int64, np.int16, object])
@pytest.mark.parametrize("suffix", ["gpkg", "shp"])
def test_real_and_whole_fields_of_vector_files_are_codes(tmp_path, dtype, suffix):
    column = np.array([1, 2], dtype) if dtype is not object else np.array(["1.0", "02"], object)
    path = ogr(tmp_path / f"a.{suffix}", (box(A), None), (box(B), None), column=column)
    np.testing.assert_array_equal(read(path)[0], painted((A, 0), (B, 1)))


@pytest.mark.parametrize("form", ["geojson", "gpkg", "shp"])
def test_floats_of_a_shipped_sets_codes_are_those_codes(tmp_path, form):
    """WorldCover's 10 and 20; its Moss and lichen is 100."""
    worldcover, rows = get_taxonomy("worldcover11"), ((box(A), 10.0), (box(B), 20.0))
    path = tmp_path / f"a.{form}"
    geojson(path, *rows) if form == "geojson" else ogr(path, *rows, column=np.array([10.0, 20.0]))
    wanted = painted((A, worldcover.find("Tree cover")), (B, worldcover.find("Shrubland")))
    np.testing.assert_array_equal(read(path, worldcover)[0], wanted)


@pytest.mark.parametrize("suffix", ["gpkg", "shp"])
def test_an_empty_cell_of_a_whole_number_column_is_named_and_the_others_keep_their_codes(tmp_path, suffix):
    column, empty = np.array([1, 0, 20], np.int64), np.array([False, True, False])
    more = {"column": column, "field_mask": [empty]}
    path = ogr(tmp_path / f"a.{suffix}", (box(A), 0), (box(B), 0), (box(B), 0), **more)
    problems = Problems()
    twenty = Taxonomy.from_dict(
        {"name": "t", "classes": [{"code": 1, "name": "a"}, {"code": 10, "name": "b"}, {"code": 20, "name": "c"}]}, "t"
    )
    LabelPolygons(path, GROUND, twenty, LabelReading(), problems)
    assert [problem.where for problem in problems.errors] == [f"feature 1 of {path}"]
    assert "has no class: the value is empty" in problems.errors[0].what


@pytest.mark.parametrize("value", [-1, "-1", -1.0, 1.5, "1,0", "eau", "wate", "water+", True, 12, "10"])
def test_what_is_no_class_is_never_taken_for_one(tmp_path, value):
    path = geojson(tmp_path / "a.geojson", (box(A), value))
    with pytest.raises(LabelError, match=r"feature 0 of .*a\.geojson.* is no class of label set 'two'"):
        read(path)


def test_ignored_codes_leave_their_ground_without_a_label(tmp_path):
    found, _ = read(geojson(tmp_path / "a.geojson", (box(A), 1), (box(B), 0)))
    np.testing.assert_array_equal(found, painted((A, 0), (B, 255)))


@pytest.mark.parametrize("value", [312, 312.0, "312", "312.0", "Coniferous forest"])
def test_corines_ids_are_understood_in_vectors(tmp_path, value):
    path = geojson(tmp_path / "clc.geojson", (box(A), value), name="Code_18")
    corine = get_taxonomy("corine44")
    np.testing.assert_array_equal(read(path, corine, field="Code_18")[0], painted((A, corine.find("312"))))


def test_a_package_of_several_layers_is_refused_naming_them_until_one_is_named(tmp_path):
    path = ogr(tmp_path / "a.gpkg", (box(A), "water"), layer="old")
    ogr(path, (box(B), "forêt"), layer="new")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LabelError, match="holds the layers old, new; name one with --label-layer"):
            read(path)
        np.testing.assert_array_equal(read(path, layer="new")[0], painted((B, 1)))
        np.testing.assert_array_equal(read(path, layer="old")[0], painted((A, 0)))
    with pytest.raises(LabelError, match=r"has no layer 'newer' .*it has old, new.* Did you mean 'new'"):
        read(path, layer="newer")


def test_a_table_without_geometries_is_no_layer_to_choose(tmp_path):
    path = ogr(tmp_path / "a.gpkg", (box(A), "water"), layer="fields")
    raw = pytest.importorskip("pyogrio.raw")
    raw.write(path, None, [np.array(["x"], object)], ["note"], layer="notes", geometry_type=None, append=True, crs=None)
    np.testing.assert_array_equal(read(path)[0], painted((A, 0)))


def test_layers_are_asked_of_files_that_have_them(tmp_path):
    with pytest.raises(LabelError, match="has no layers; leave out --label-layer"):
        read(geojson(tmp_path / "a.geojson", (box(A), 1)), layer="a")


@pytest.mark.parametrize("crs", ["EPSG:32633", "urn:ogc:def:crs:EPSG::32633"])
def test_a_byte_order_mark_is_read_over(tmp_path, crs):
    found, _ = read(geojson(tmp_path / "a.geojson", (box(A), "forêt"), bom="\ufeff", crs=crs))
    np.testing.assert_array_equal(found, painted((A, 1)))
    (lon,), (lat,) = transform(GROUND.crs, "EPSG:4326", [GROUND.x_m + 75], [GROUND.y_m - 35])
    (tmp_path / "p.csv").write_text(f"\ufefflon,lat,class\n{lon:.8f},{lat:.8f},forêt\n")
    np.testing.assert_array_equal(read(tmp_path / "p.csv")[0], painted(((70, 30, 80, 40), 1)))


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "mac-roman"])
def test_text_of_another_encoding_is_read_when_it_is_named(tmp_path, encoding):
    path = geojson(tmp_path / "a.geojson", (box(A), "forêt"), encoding=encoding)
    np.testing.assert_array_equal(read(path, encoding=encoding)[0], painted((A, 1)))
    with pytest.raises(LabelError, match=r"a\.geojson"):
        read(path)


@pytest.mark.parametrize(
    ("encoding", "name"), [("gbk", "水体"), ("cp1251", "Лес"), ("utf-8", "forêt"), ("cp1252", "forêt")]
)
def test_a_shapefile_says_its_encoding_or_is_told_it(tmp_path, encoding, name):
    classes = [{"code": 1, "name": "other"}, {"code": 2, "name": name}]
    own = Taxonomy.from_dict({"name": "own", "classes": classes}, "own")
    path = ogr(tmp_path / "a.shp", (box(A), name), encoding=encoding)
    assert path.with_suffix(".cpg").exists()
    np.testing.assert_array_equal(read(path, own)[0], painted((A, 1)))
    path.with_suffix(".cpg").unlink()
    np.testing.assert_array_equal(read(path, own, encoding=encoding)[0], painted((A, 1)))
    if encoding != "cp1252":  # what is taken for granted where nothing is said
        with pytest.raises(LabelError, match="name the file's encoding with --label-encoding, such as gbk"):
            read(path, own)


def test_an_encoding_that_is_not_known_is_a_sentence():
    with pytest.raises(LabelError, match="--label-encoding 'utf-7b' is not known; use one such as utf-8"):
        LabelReading(encoding="utf-7b").check()


@pytest.mark.parametrize(
    "shape", [None, {"type": "Polygon", "coordinates": []}, {"type": "GeometryCollection", "geometries": []}]
)
def test_features_without_geometry_are_left_out_and_counted(tmp_path, shape):
    path = geojson(tmp_path / "a.geojson", (shape, "water"), (box(A), "forêt"), (shape, "water"))
    found, said = read(path)
    np.testing.assert_array_equal(found, painted((A, 1)))
    assert [problem.severity for problem in said] == ["warning"]
    assert said[0].what.startswith("2 of 3 features have no geometry and are left out")


def test_empty_and_missing_geometries_of_a_package_are_left_out_too(tmp_path):
    shapely = pytest.importorskip("shapely")
    path = ogr(tmp_path / "a.gpkg", (box(A), "water"), (None, "forêt"), (shapely.Polygon().__geo_interface__, "forêt"))
    found, said = read(path)
    np.testing.assert_array_equal(found, painted((A, 0)))
    assert "2 of 3 features have no geometry" in said[0].what


@pytest.mark.parametrize("form", ["geojson", "gpkg", "csv", "shp"])
def test_points_of_any_file_label_the_pixel_they_lie_in(tmp_path, form):
    places, names = np.array([(75, 35), (401, 239), (599, 479)]), ["water", "forêt", "water"]
    xs, ys = transform(
        GROUND.crs, "EPSG:4326", [GROUND.x_m + x for x, _ in places], [GROUND.y_m - y for _, y in places]
    )
    rows = [({"type": "Point", "coordinates": pair}, name) for *pair, name in zip(xs, ys, names, strict=True)]
    path = tmp_path / f"p.{form}"
    if form == "csv":
        path.write_text(
            "lon,lat,class\n" + "".join(f"{x:.9f},{y:.9f},{name}\n" for x, y, name in zip(xs, ys, names, strict=True))
        )
    elif form == "geojson":
        geojson(path, *rows, crs=None)
    else:
        ogr(path, *rows, geometry_type="Point", crs="EPSG:4326")
    wanted = np.full((GROUND.height, GROUND.width), 255)
    for (x, y), name in zip(places // 10, names, strict=True):
        wanted[y, x] = TWO.find(name)
    np.testing.assert_array_equal(read(path)[0], wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lon,lat,class\n15,47,Water, shallow\n", r"line 2 has more cells than the header; put cells that hold commas"),
        ("lon,lat,class,class\n15,47,water,forêt\n", r"'class' twice"),
        ("lon,lat,class\n15;0,47,water\n", r"p\.csv line 2.* are no numbers"),
        ("lon,lat,class\n15,47\n", r"p\.csv line 2: has no class"),
        ("lon,lat,class\n,47,water\n", r"p\.csv line 2.* no numbers"),
        ("lon,lat,class\n15,95,water\n", r"p\.csv line 2.*no degrees: longitude comes first"),
        ("lon,lat,class\n500040,5300040,water\n", r"p\.csv line 2.*no degrees"),
        ("lon,lat,class\nnan,47,water\n", r"which are no numbers"),
        ("x,y,class\n15,47,water\n", r"has the columns x, y, class, not 'lon'"),
        ("lon;lat;class\n15;47;water\n", r"has the columns lon;lat;class, not 'lon'"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(LabelError, match=said):
        read(tmp_path / "p.csv")


@pytest.mark.parametrize(
    "crs", [{"type": "EPSG", "properties": {"code": 32633}}, "EPSG:32633", "urn:ogc:def:crs:EPSG::32633"]
)
def test_a_geojsons_old_coordinate_systems_are_understood(tmp_path, crs):
    np.testing.assert_array_equal(read(geojson(tmp_path / "a.geojson", (box(A), 1), crs=crs))[0], painted((A, 0)))


@pytest.mark.parametrize(
    "crs",
    [
        {"type": "link", "properties": {"href": "http://x"}},
        {"type": "name", "properties": {"name": "EPSG:999999"}},
        {"type": "name"},
        {"type": "EPSG", "properties": {}},
        "here",
        [],
        3,
    ],
)
def test_one_that_is_not_understood_is_never_taken_for_degrees(tmp_path, crs):
    path = tmp_path / "a.geojson"
    geojson(path, (box(A, 4326), 1), crs=None)
    record = json.loads(path.read_text()) | {"crs": crs}
    path.write_text(json.dumps(record))
    with pytest.raises(LabelError, match="names a coordinate system that is not understood"):
        read(path)


@pytest.mark.parametrize("epsg", [4326, 4258, 32632, 3035, 3857, 2154, 31468])
def test_files_of_any_coordinate_system_lie_where_they_were_drawn(tmp_path, epsg):
    path = geojson(tmp_path / "a.geojson", (box(A, epsg), 1), (box(B, epsg), 2), crs=f"EPSG:{epsg}")
    np.testing.assert_array_equal(read(path)[0], painted((A, 0), (B, 1)))


def test_which_of_two_polygons_counts_is_a_choice(tmp_path):
    path = geojson(tmp_path / "a.geojson", (box(A), 1), (box(B), 2), (box(A), "water"))
    np.testing.assert_array_equal(read(path, overlap="last")[0], painted((B, 1), (A, 0)))
    np.testing.assert_array_equal(read(path, overlap="first")[0], painted((B, 1), (A, 0)))
    both = (painted((A, 0)) == 0) & (painted((B, 0)) == 0)
    with pytest.raises(LabelError, match=rf"overlaps another class .*; {both.sum()} pixels have two"):
        read(path, overlap="error")
    apart = geojson(tmp_path / "b.geojson", (box(A), 1), (box(A), 1), (box((400, 300, 500, 400)), 2))
    np.testing.assert_array_equal(read(apart, overlap="error")[0], painted((A, 0), ((400, 300, 500, 400), 1)))
    with pytest.raises(LabelError, match=r"'lst' is not known; use one of last, first, error\. Did you mean 'last'"):
        LabelReading(overlap="lst").check()  # pyright: ignore


@pytest.mark.parametrize("touched", [False, True])
def test_slanted_shapes_are_what_one_call_of_rasterize_gives(tmp_path, touched):
    rng = np.random.default_rng(3)
    rows = []
    for k in range(40):
        corners = np.sort(rng.uniform(0, 2 * np.pi, 7))
        middle, size = rng.uniform(0, 500, 2), rng.uniform(20, 130)
        ring = np.column_stack(
            [GROUND.x_m + middle[0] + size * np.cos(corners), GROUND.y_m - middle[1] - size * np.sin(corners)]
        )
        rows.append(({"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}, 1 + k % 2))
    found, _ = read(geojson(tmp_path / "a.geojson", *rows), all_touched=touched)
    shapes = [(shape, value - 1) for shape, value in rows]
    wanted = features.rasterize(shapes, (48, 60), 255, transform=GROUND.transform, all_touched=touched, dtype="uint8")
    np.testing.assert_array_equal(found, wanted)
    labels = LabelPolygons(tmp_path / "a.geojson", GROUND, TWO, LabelReading(all_touched=touched), Problems())
    np.testing.assert_array_equal(labels.read((60, 120, 180, 240)), wanted[12:36, 6:24])


def test_two_thousand_parcels_are_burnt_in_one_call(tmp_path, monkeypatch):
    """A call a parcel, each as large as the scene, took hours on a tile."""
    lefts, tops = np.random.default_rng(5).integers(0, 55, (2, 2000)) * 10 + 3
    edges = [(x, y, x + 40, y + 30) for x, y in zip(lefts.tolist(), tops.tolist(), strict=True)]
    rows = [(box(pair), 1 + k % 2) for k, pair in enumerate(edges)]
    path, calls, rasterize = geojson(tmp_path / "a.geojson", *rows), [], features.rasterize

    def counted(shapes, *args, **more):
        calls.append(len(shapes))
        return rasterize(shapes, *args, **more)

    monkeypatch.setattr(features, "rasterize", counted)
    found, _ = read(path)
    np.testing.assert_array_equal(found, painted(*((pair, k % 2) for k, pair in enumerate(edges))))
    assert len(calls) == 1


def test_collections_and_holes_and_heights_are_drawn_as_they_are(tmp_path):
    outer, hole = box(A)["coordinates"][0], box((100, 100, 200, 200))["coordinates"][0]
    ring = {"type": "Polygon", "coordinates": [[[*pair, 7.0] for pair in outer], [[*pair, 7.0] for pair in hole]]}
    many = {"type": "MultiPolygon", "coordinates": [ring["coordinates"], box((420, 300, 520, 400))["coordinates"]]}
    every = {"type": "GeometryCollection", "geometries": [many, box((300, 10, 340, 50))]}
    found, _ = read(geojson(tmp_path / "a.geojson", (every, 1)))
    wanted = painted((A, 0), ((100, 100, 200, 200), 255), ((420, 300, 520, 400), 0), ((300, 10, 340, 50), 0))
    np.testing.assert_array_equal(found, wanted)


def test_a_scene_on_the_antimeridian_finds_parcels_on_both_sides(tmp_path):
    ground = Ground(CRS.from_epsg(32660), 829_980.0, 100_020.0, 600, 60, "scene")
    rows = []
    for left in (100, 5_500):
        corners = [(left, 100), (left + 200, 100), (left + 200, 300), (left, 300), (left, 100)]
        ring = {"type": "Polygon", "coordinates": [[[ground.x_m + x, ground.y_m - y] for x, y in corners]]}
        rows.append((transform_geom(ground.crs, "EPSG:4326", ring), 1))
    longitudes = [np.array(shape["coordinates"])[0, :, 0] for shape, _ in rows]
    assert longitudes[0].min() > 179
    assert longitudes[1].max() < -179
    problems = Problems()
    labels = LabelPolygons(geojson(tmp_path / "a.geojson", *rows, crs=None), ground, TWO, LabelReading(), problems)
    assert not problems.found
    assert (labels.read(ground.whole_m) == 0).sum() == 2 * 20 * 20


def test_features_of_255_are_counted_or_a_class_by_its_id(tmp_path):
    path = geojson(tmp_path / "a.geojson", (box(A), 255), (box(B), "255.0"), (box((500, 10, 560, 60)), 1))
    found, said = read(path)
    np.testing.assert_array_equal(found, painted(((500, 10, 560, 60), 0)))
    assert said[0].what.startswith("2 features hold 255, which means no label (the first: feature 0")
    far = {"code": 3, "name": "far", "id": 255}
    own = Taxonomy.from_dict({"name": "own", "classes": [{"code": 1, "name": "near"}, far]}, "own")
    found, said = read(path, own)
    np.testing.assert_array_equal(found, painted((A, 1), (B, 1), ((500, 10, 560, 60), 0)))
    assert said == []


def test_a_drawings_own_coordinate_system_is_one_sentence(tmp_path):
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    path = ogr(tmp_path / "a.gpkg", (box(A), "water"), crs=local)
    with pytest.raises(LabelError, match="coordinate system"):
        read(path)


def test_a_place_in_pythons_own_spelling_is_no_number(tmp_path):
    (tmp_path / "a.csv").write_text("lon,lat,class\n1_5.002,45.1,1\n")
    with pytest.raises(LabelError, match=r"line 2.*1_5\.002.* are no numbers"):
        read(tmp_path / "a.csv")


def test_a_shapefile_with_the_table_of_another_is_refused(tmp_path):
    shapes = [(box(A), 1), (box(B), 2)]
    for name, rows in (("own", shapes), ("fewer", shapes[:1]), ("more", [*shapes, shapes[0]])):
        ogr(tmp_path / f"{name}.shp", *rows, column=np.array([value for _, value in rows]))
    assert (read(tmp_path / "own.shp")[0] == painted((A, 0), (B, 1))).all()
    for name, rows in (("fewer", 1), ("more", 3)):
        (tmp_path / "own.dbf").write_bytes((tmp_path / f"{name}.dbf").read_bytes())
        with pytest.raises(LabelError, match=rf"own\.shp has 2 shapes and own\.dbf {rows} rows"):
            read(tmp_path / "own.shp")
