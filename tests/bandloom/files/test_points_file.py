"""Points of every kind come back with all their columns, and what is none is refused."""

import json

import numpy as np
import pytest

from bandloom.errors import LabelError, OutputError
from bandloom.export.assess.draw import draw_sample
from bandloom.export.assess.write_points import write_sample
from bandloom.files.points_file import read_points_file
from tests.export.maps.maps import codes_of_a_map, write_map


@pytest.mark.parametrize("suffix", ["csv", "geojson", "gpkg"])
def test_what_is_written_back_is_what_was_read_with_the_answers(tmp_path, suffix):
    path = tmp_path / f"points.{suffix}"
    sample = draw_sample(write_map(tmp_path / "map.tif", codes_of_a_map()), 5, None, 1)
    write_sample(path, sample)
    points = read_points_file(path)
    assert len(points) == 15
    before = {name: list(values) for name, values in points.columns.items()}
    points.columns["class"] = ["water", None] * 7 + ["tree"]
    points.columns["comment"] = ["a, b", ""] * 7 + ["\u00fc"]
    points.write(path, overwrite=True)
    again = read_points_file(path)
    np.testing.assert_allclose(again.places, points.places, atol=1e-9)
    assert [value or None for value in again.columns["class"]] == points.columns["class"]
    assert [value or "" for value in again.columns["comment"]] == points.columns["comment"]
    for name in before.keys() - {"class"}:
        assert again.columns[name] == before[name], name
    with pytest.raises(OutputError, match="ends otherwise"):
        points.write(tmp_path / "points.xyz")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "x,y\n1,2\n", "cannot be read as points: no column 'lon'; its first line names x, y"),
        ("a.csv", "lon;lat\n1;2\n", "no column 'lon'; its first line names lon;lat"),
        ("a.csv", "lon,lat,class,class\n1,2,a,b\n", "it has the column 'class' twice"),
        ("a.csv", "lon,lat,comment\n1,2,wet, deep\n", "line 2 has more cells than the first"),
        ("a.csv", "lon,lat\n", "holds no points"),
        ("a.csv", "lon,lat\n1,95\n", "no degrees of longitude and latitude"),
        ("a.csv", "lon,lat\n1,nan\n", "no degrees of longitude and latitude"),
        ("a.csv", "lon,lat\n1,two\n", "cannot be read as points"),
        ("a.geojson", "{}", "cannot be read as points"),
        ("a.gpkg", "no database", "is damaged, cut off or of another kind than its ending says"),
        ("a.xls", "", "is no file of points"),
    ],
)
def test_what_is_no_points_is_one_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(LabelError, match=sentence):
        read_points_file(tmp_path / name)


def test_a_polygon_among_points_is_refused(tmp_path):
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(LabelError, match="a Polygon, where points are wanted"):
        read_points_file(tmp_path / "a.geojson")
