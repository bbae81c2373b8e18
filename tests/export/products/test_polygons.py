"""Polygons of real map files, read back by GDAL and checked by GEOS."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio import features
from scipy.ndimage import gaussian_filter

from bandloom.cli import main
from bandloom.errors import SceneError
from bandloom.export.products.polygons import PolygonOptions, write_polygons
from tests.export.maps.maps import NAMES, UTM, codes_of_a_map, write_map
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

CODES = {name: code for code, name in NAMES.items()}


def ground(side: int = 120, seed: int = 1) -> np.ndarray:
    """Return codes of ground as classifiers map it: patches with ragged edges, and single pixels strewn in."""
    rng = np.random.default_rng(seed)
    rough = [gaussian_filter(rng.normal(size=(side, side)), 4) + 0.02 * rng.normal(size=(side, side)) for _ in NAMES]
    codes = np.array(list(NAMES))[np.argmax(rough, axis=0)].astype(np.uint8)
    codes[-20:, -30:] = 255
    return codes


def read(path):
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        columns = {name: table[name].to_pylist() for name in table.column_names}
        return shapely.from_wkb(columns.pop("geometry")), columns
    meta, _, shapes, values = pyogrio.raw.read(path)
    return shapely.from_wkb(shapes), dict(zip(meta["fields"], (value.tolist() for value in values), strict=True))


def burnt(shapes, columns, shape, grid=UTM):
    pairs = zip(shapes.tolist(), columns["code"], strict=True)
    return features.rasterize(pairs, shape, fill=255, transform=grid, dtype="uint8")


@pytest.mark.parametrize("suffix", ["gpkg", "fgb", "parquet"])
def test_without_smoothing_the_polygons_are_the_pixels(tmp_path, suffix):
    codes, out = ground(), tmp_path / f"out.{suffix}"
    written = write_polygons(write_map(tmp_path / "map.tif", codes), out, PolygonOptions(0, 0), rows=17)
    shapes, columns = read(out)
    assert written.polygons == len(shapes)
    np.testing.assert_array_equal(burnt(shapes, columns, codes.shape), codes)
    theirs = [
        (int(code), shapely.geometry.shape(shape).normalize())
        for shape, code in features.shapes(codes, codes != 255, 4, UTM)
    ]
    ours = zip(columns["code"], shapely.simplify(shapes, 0).tolist(), strict=True)
    assert {(code, shape.normalize().wkt) for code, shape in ours} == {(code, shape.wkt) for code, shape in theirs}
    np.testing.assert_allclose(columns["hectares"], shapely.area(shapes) / 1e4)
    assert columns["class"] == [NAMES[code] for code in columns["code"]]
    for name, code in CODES.items():
        assert written.hectares[name] == pytest.approx((codes == code).sum() * 0.01)


@pytest.mark.parametrize("rows", [1, 13, 120])
@pytest.mark.parametrize("smooth", [0, 1, 3])
@pytest.mark.parametrize("least", [0, 0.25])
def test_common_borders_stay_common_and_no_polygon_is_invalid(tmp_path, rows, smooth, least):
    codes = ground()
    codes[codes == 255] = 1
    out = tmp_path / "out.fgb"
    write_polygons(write_map(tmp_path / "map.tif", codes), out, PolygonOptions(least, smooth), rows)
    shapes, columns = read(out)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == pytest.approx(codes.size * 100, rel=1e-12)
    assert shapely.coverage_union_all(shapes).equals(shapely.box(*UTM * (0, 120), *UTM * (120, 0)))
    assert sum(columns["hectares"]) == pytest.approx(codes.size * 0.01)


def test_smoothing_takes_corners_off_and_moves_no_border_by_more_than_it_says(tmp_path):
    codes = ground()
    path = write_map(tmp_path / "map.tif", codes)
    for name, options in {"plain": PolygonOptions(0.25, 0), "smooth": PolygonOptions(0.25, 2)}.items():
        write_polygons(path, tmp_path / f"{name}.fgb", options, rows=40)
    (plain, of_plain), (smooth, columns) = read(tmp_path / "plain.fgb"), read(tmp_path / "smooth.fgb")
    assert shapely.get_num_coordinates(smooth).sum() < shapely.get_num_coordinates(plain).sum() / 2
    changed = burnt(smooth, columns, codes.shape) != burnt(plain, of_plain, codes.shape)
    assert changed.mean() < 0.05


def test_confidence_is_the_mean_over_pixels_of_the_polygons_own_class(tmp_path):
    codes = ground()
    path = write_map(tmp_path / "map.tif", codes)
    percent = np.random.default_rng(0).integers(0, 101, codes.shape).astype(np.uint8)
    write_map(tmp_path / "map.confidence.tif", np.where(codes == 255, 255, percent))
    write_polygons(path, tmp_path / "out.gpkg", PolygonOptions(0.25, 0), rows=31)
    shapes, columns = read(tmp_path / "out.gpkg")
    for shape, code, mean in zip(shapes, columns["code"], columns["confidence_percent"], strict=True):
        inside = features.rasterize([shape], codes.shape, transform=UTM).astype(bool)
        assert mean == pytest.approx(percent[inside & (codes == code)].mean())


def test_hectares_of_a_map_in_degrees_are_those_on_the_ellipsoid(tmp_path):
    grid = Affine(0.001, 0, 100.0, 0, -0.001, 60.0)
    path = write_map(tmp_path / "map.tif", ground(), "EPSG:4326", grid)
    write_polygons(path, tmp_path / "out.gpkg", PolygonOptions(0, 0))
    shapes, columns = read(tmp_path / "out.gpkg")
    xs, ys = shapely.get_coordinates(shapely.segmentize(shapes, 1e-4)).T
    from rasterio.warp import transform

    moved = np.stack(transform("EPSG:4326", "EPSG:6933", xs, ys)[:2], axis=1)
    equal_area = shapely.set_coordinates(shapely.segmentize(shapes, 1e-4), moved)
    np.testing.assert_allclose(columns["hectares"], shapely.area(equal_area) / 1e4, rtol=1e-6)


def test_the_files_name_their_coordinate_system_and_layer(tmp_path):
    path = write_map(tmp_path / "map.tif", codes_of_a_map())
    for suffix in ("gpkg", "fgb"):
        write_polygons(path, tmp_path / f"out.{suffix}", PolygonOptions())
        info = pyogrio.read_info(tmp_path / f"out.{suffix}", layer=0)
        assert info["crs"] == "EPSG:32647"
        assert info["geometry_type"] == "Polygon"
    write_polygons(path, tmp_path / "out.parquet", PolygonOptions())
    import pyarrow.parquet as pq

    told = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"geo"])
    assert told["version"] == "1.1.0"
    assert told["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32647}


def test_the_command_says_what_it_wrote_and_what_it_took_away(tmp_path, capsys):
    path = write_map(tmp_path / "map.tif", ground())
    assert run("polygons", path, "--out", tmp_path / "out.gpkg", "--least-ha", "0.5") == 0
    said = capsys.readouterr().out
    assert " polygons, 138.00 ha" in said
    assert "took the class around them" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "out.shp"], "ends in '.shp'; name a file that ends in .gpkg, .fgb, .parquet"),
        (["--out", "map.tif"], "exists already"),
        (["--out", "out.gpkg", "--least-ha", "-1"], "--least-ha -1 is refused; give 0 or more"),
        (["--out", "out.gpkg", "--smooth", "nan"], "--smooth nan is refused"),
        (["--out", "none/out.gpkg"], ""),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, capsys, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    write_map(tmp_path / "map.tif", codes_of_a_map())
    with pytest.raises(SystemExit) as stopped:
        main(["polygons", "map.tif", *words])
    assert stopped.value.code == (2 if sentence else 0)
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif"] + ([] if sentence else ["none"])


def test_a_map_that_was_cut_short_is_one_sentence_wherever_it_ends(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_map(tmp_path / "map.tif", ground())
    written = (tmp_path / "map.tif").read_bytes()
    for share in (0.02, 0.1, 0.3, 0.6, 0.9, 0.99):
        (tmp_path / "cut.tif").write_bytes(written[: int(share * len(written))])
        with pytest.raises(SystemExit) as end:
            main(["polygons", "cut.tif", "--out", "out.gpkg"])
        said = capsys.readouterr().err
        assert end.value.code == 2
        assert said.startswith("error: ")
        assert said.count("\n") == 1


def test_predict_writes_the_polygons_of_its_map(tmp_path, capsys):
    write_tiny_bundle(tmp_path / "tiny")
    scene, out = write_stack(tmp_path / "scene.tif", (130, 160)), tmp_path / "map.tif"
    assert run("predict", tmp_path / "tiny", scene, "--out", out, "--polygons", tmp_path / "map.gpkg") == 0
    with rasterio.open(out) as source:
        codes, command = source.read(1), json.loads(source.tags()["COMMAND"])
        measured, pixel_ha = int((codes != source.nodata).sum()), abs(source.transform.determinant) / 1e4
    assert command[command.index("--polygons") + 1] == str(tmp_path / "map.gpkg")
    _, columns = read(tmp_path / "map.gpkg")
    assert sum(columns["hectares"]) == pytest.approx(measured * pixel_ha)
    capsys.readouterr()
    for words in (["--out", tmp_path / "maps"], ["--out", tmp_path / "other.tif"]):
        assert run("predict", tmp_path / "tiny", scene, *words, "--polygons", tmp_path / "map.gpkg") == 2
    said = capsys.readouterr().err
    assert "--polygons goes with one scene" in said
    assert "map.gpkg exists already" in said
    assert not (tmp_path / "other.tif").exists()


def test_a_confidence_map_of_another_grid_is_refused_before_the_map_is_read(tmp_path):
    path = write_map(tmp_path / "map.tif", codes_of_a_map())
    write_map(tmp_path / "map.confidence.tif", codes_of_a_map()[1:])
    with pytest.raises(SceneError, match=r"map\.confidence\.tif lies on another grid than .*map\.tif"):
        write_polygons(path, tmp_path / "out.gpkg", PolygonOptions())
    assert not (tmp_path / "out.gpkg").exists()
