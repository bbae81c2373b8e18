"""Draws of label files of every kind: read as written, or refused in a sentence; never another class without a word."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bandloom.errors import LabelError
from bandloom.shards.labels.open_labels import label_path, open_labels
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import LabelReading
from tests.shards.labels.trial import GROUND, REFUSED, SETS, Drawn, Mask, Vector, spellings, trial, wrong

pytestmark = pytest.mark.filterwarnings("ignore")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
FEW = settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def masks(draw) -> Mask:
    taxonomy = SETS[draw(st.sampled_from(sorted(SETS)))]
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    codes = [land_class.code for land_class in taxonomy.classes]
    ids = [int(land_class.id) for land_class in taxonomy.classes if land_class.id.lstrip("-").isdecimal()]
    common = [*codes, *taxonomy.ignore, *draw(st.sampled_from([[], ids, [255], ids]))]
    odd = draw(st.sampled_from([[], [], [], [254], [-1], [-9999], [0.5], [float("nan")], [float("inf")], [70_000]]))
    pool = [each for each in [*common, *odd] if fits(each, dtype)]
    size = draw(st.sampled_from([10.0, 10.0, 10.0, 20.0, 5.0, 7.0, 30.0, 9.98]))
    epsg = draw(st.sampled_from([32633, 32633, 32633, 32632, 4326, 3035]))
    whole = round(GROUND.height * 10 / size), round(GROUND.width * 10 / size)
    shape = draw(st.sampled_from([whole, whole, (whole[0] + 3, whole[1] - 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = rng.choice(np.array(pool, object), shape).astype(dtype)
    nodata = draw(st.sampled_from([None, None, 255, 0, -9999, float("nan"), codes[0], 254]))
    hidden = rng.random(shape) < 0.3 if draw(st.integers(0, 3)) == 0 else None
    return Mask(
        taxonomy,
        values,
        epsg=draw(st.sampled_from([epsg, epsg, epsg, epsg, epsg, epsg, None])),
        pixel_m=size,
        shift_m=draw(st.sampled_from([(0.0, 0.0), (0.0, 0.0), (30.0, -50.0), (-13.0, 4.0), (2.0, 1.0)])),
        turn=draw(st.sampled_from([0.0, 0.0, 0.0, 17.0, -90.0])),
        nodata=nodata if nodata is None or fits(nodata, dtype) else None,
        hidden=hidden,
        hidden_by=draw(st.sampled_from(["internal", "msk", "alpha"])),
        bands=draw(st.sampled_from([1, 1, 1, 1, 1, 1, 3])),
        scale=draw(st.sampled_from([1.0] * 9 + [0.1])),
        told_nodata=draw(st.sampled_from([None, None, None, "none", "0", "nan", "255"])),
    )


def fits(value: float, dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        return True
    bounds = np.iinfo(dtype)
    return float(value).is_integer() and bounds.min <= value <= bounds.max


@st.composite
def vectors(draw) -> Vector:
    taxonomy = SETS[draw(st.sampled_from(sorted(SETS)))]
    form = draw(st.sampled_from(["geojson", "geojson", "gpkg", "shp", "csv"]))
    kind = "text" if form == "csv" else draw(st.sampled_from(["int", "float", "text", "text"]))
    point = form == "csv" or draw(st.booleans())
    spoilt = draw(st.integers(0, 3)) == 0
    features = []
    for _ in range(draw(st.integers(1, 6))):
        left, top = draw(st.integers(-5, 38)), draw(st.integers(-5, 34))
        wide, high, bit = draw(st.integers(1, 25)), draw(st.integers(1, 25)), draw(st.integers(1, 4))
        index = draw(st.integers(0, len(taxonomy.classes) - 1))
        value = draw(st.sampled_from(spellings(taxonomy, index, kind)))
        if taxonomy.ignore and draw(st.integers(0, 6)) == 0 and kind != "text":
            value, index = {"int": int, "float": float}[kind](taxonomy.ignore[0]), 255
        if spoilt and draw(st.booleans()):
            value, index = draw(st.sampled_from(wrong(taxonomy, kind))), REFUSED
        box = left * 10 + bit, top * 10 + bit, (left + wide) * 10 + bit, (top + high) * 10 + bit
        missing = form != "csv" and draw(st.integers(0, 9)) == 0
        features.append(Drawn(box, point, value, index, missing))
    epsg = 4326 if form == "csv" else draw(st.sampled_from([4326, 32633, 32632, 3035, 3857]))
    names = ["EPSG:{}", "urn:ogc:def:crs:EPSG::{}"] + (["urn:ogc:def:crs:OGC:1.3:CRS84"] if epsg == 4326 else [])
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "cp1252", "gbk"]))
    if not all(_spells(feature.value, encoding) for feature in features):
        encoding = "utf-8"
    return Vector(
        taxonomy,
        tuple(features),
        form,
        epsg,
        draw(st.sampled_from(names)),
        bom=encoding == "utf-8" and draw(st.booleans()),
        encoding=encoding if form in ("shp", "csv", "geojson") else "utf-8",
        cpg=draw(st.booleans()),
        told_encoding=draw(st.booleans()),
        layers=draw(st.sampled_from([1, 1, 2])),
        told_layer=form == "gpkg" and draw(st.booleans()),
        overlap=draw(st.sampled_from(["last", "first"])),
        multi=draw(st.booleans()),
    )


def _spells(value: object, encoding: str) -> bool:
    try:
        str(value).encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def test_a_scenes_labels_are_found_by_their_name_and_two_of_them_are_refused(tmp_path):
    source = str(tmp_path / "scenes" / "scene.SAFE")
    (tmp_path / "scene.csv").write_text("")
    assert label_path(str(tmp_path), source, "scene") == tmp_path / "scene.csv"
    assert label_path(f"{tmp_path}/{{name}}.csv", source, "scene") == tmp_path / "scene.csv"
    (tmp_path / "scene.geojson").write_text("")
    with pytest.raises(LabelError, match=r"scene\.geojson and .*scene\.csv; keep one of them"):
        label_path(str(tmp_path), source, "scene")
    with pytest.raises(LabelError, match="scene other has no labels at"):
        label_path(str(tmp_path), source, "other")
    for pattern in ("{nme}.tif", "{}.tif", "{name.tif"):
        with pytest.raises(LabelError, match="between braces stand name, parent or folder alone"):
            label_path(pattern, source, "scene")


def test_nodata_is_asked_of_rasters_alone(tmp_path):
    (tmp_path / "a.geojson").write_text("{}")
    with pytest.raises(LabelError, match="is a vector file, which --label-nodata is not for"):
        open_labels(tmp_path / "a.geojson", GROUND, SETS["signs"], LabelReading(nodata="0"), Problems())


@pytest.mark.parametrize("name", ["a.fgb", "a.kml", "a.zip", "a.shp.zip", "a.parquet"])
def test_vector_files_of_another_form_are_told_to_be_converted(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(LabelError, match=r"is no raster, and of vector files .*\.gpkg.* are read; convert it"):
        open_labels(tmp_path / name, GROUND, SETS["signs"], LabelReading(), Problems())


def attempt(case: Mask | Vector) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return trial(case, Path(folder))


@FEW
@given(masks())
def test_fifty_rasters_are_read_as_written_or_refused(case):
    attempt(case)


@FEW
@given(vectors())
def test_fifty_drawings_are_read_as_drawn_or_refused(case):
    attempt(case)


@pytest.mark.fuzz
def test_a_thousand_rasters():
    said = Counter()

    @MANY
    @given(masks())
    def each(case):
        said[attempt(case)[-40:]] += 1

    each()
    assert said[""] > 250, said.most_common(20)  # the trial is not one of refusals


@pytest.mark.fuzz
def test_a_thousand_drawings():
    said = Counter()

    @MANY
    @given(vectors())
    def each(case):
        said[attempt(case)[-40:]] += 1

    each()
    assert said[""] > 300, said.most_common(20)
