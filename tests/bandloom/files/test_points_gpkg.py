"""A GeoPackage with styles, a spatial index and empty cells of every type, changed and read by GDAL and by SQLite."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from bandloom.errors import OutputError
from bandloom.files.points_file import read_points_file

pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")
LAYER = 'po"ints'


@pytest.fixture(name="path")
def a_geopackage(tmp_path):
    """Write points with columns of whole numbers, truths and text, some cells empty, and a style beside them."""
    path = tmp_path / "points.gpkg"
    shapes = shapely.to_wkb(shapely.points([100.1, 100.2, 100.3, 100.4], [13.1, 13.2, 13.3, 13.4]))
    fields = {
        "class": np.array([10, 20, 10, 20], np.int32),
        "plot": np.array([7, 8, 9, 10], np.int64),
        "seen": np.array([True, False, True, False]),
        "note": np.array(["a", None, "b", "ü"], object),
    }
    pyogrio.raw.write(
        path, shapes, list(fields.values()), list(fields), layer=LAYER, geometry_type="Point", crs="EPSG:4326"
    )
    with closing(sqlite3.connect(path)) as database:
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            database.create_function(name, 1, lambda *_: 0)
        table = '"po""ints"'
        database.execute(f"UPDATE {table} SET plot = NULL, seen = NULL WHERE fid = 2")
        database.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY, f_table_name TEXT, styleQML TEXT)")
        database.execute("INSERT INTO layer_styles VALUES (1, 'points', '<qgis/>')")
        database.commit()
    return path


def rows(path, table='"po""ints"', columns="*"):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT {columns} FROM {table}").fetchall()


def types(path):
    return {name: kind for _, name, kind, *_ in rows(path, "pragma_table_info('po\"ints')")}


def test_only_the_cells_that_were_answered_change(path):
    before, kinds = rows(path, columns='fid, geom, "class", plot, seen, note'), types(path)
    points = read_points_file(path)
    points.columns["note"][1] = "new"
    points.columns["unsure"] = [0, 1, 0, 0]
    points.columns["comment"] = ["", "", "so, so", ""]
    points.write(path, overwrite=True)
    after = rows(path, columns='fid, geom, "class", plot, seen, note')
    assert after == [(*row[:5], "new" if row[0] == 2 else row[5]) for row in before]
    assert types(path) == kinds | {"unsure": "INTEGER", "comment": "TEXT"}
    assert rows(path, "layer_styles") == [(1, "points", "<qgis/>")]
    assert rows(path, columns="unsure, comment") == [(0, ""), (1, ""), (0, "so, so"), (0, "")]
    meta, _, shapes, values = pyogrio.raw.read(path, layer=LAYER)
    assert meta["crs"] == "EPSG:4326"
    assert shapely.get_coordinates(shapely.from_wkb(shapes))[2].tolist() == [100.3, 13.3]
    assert values[list(meta["fields"]).index("comment")].tolist() == ["", "", "so, so", ""]
    inside = pyogrio.raw.read(path, layer=LAYER, bbox=(100.15, 13, 100.25, 14))  # by the spatial index
    assert len(inside[2]) == 1


def test_a_name_in_a_column_of_codes_turns_it_into_text_and_keeps_the_codes(path):
    points = read_points_file(path)
    points.columns["class"][1] = "water"
    points.write(path, overwrite=True)
    assert [value for (value,) in rows(path, columns='"class"')] == ["10", "water", "10", "20"]
    assert read_points_file(path).columns["class"] == ["10", "water", "10", "20"]
    points = read_points_file(path)
    points.columns["class"][1] = None
    points.write(path, overwrite=True)
    assert [value for (value,) in rows(path, columns='"class"')] == ["10", None, "10", "20"]


def test_an_answer_that_is_taken_back_leaves_the_cell_empty_again(path):
    points = read_points_file(path)
    for note in ("new", None, "newer"):
        points.columns["note"][1] = note
        points.write(path, overwrite=True)
        assert rows(path, columns="note")[1] == (note,)


def test_what_another_program_has_not_yet_merged_into_the_file_is_kept(path):
    points = read_points_file(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("UPDATE layer_styles SET styleQML = '<later/>'")
        other.commit()
        points.columns["note"][0] = "mine"
        points.write(path.with_name("copy.gpkg"))
    assert rows(path.with_name("copy.gpkg"), "layer_styles") == [(1, "points", "<later/>")]
    assert rows(path.with_name("copy.gpkg"), columns="note")[0] == ("mine",)


def test_a_file_that_is_gone_or_another_by_now_is_one_sentence(path):
    points = read_points_file(path)
    points.columns["note"][0] = "mine"
    path.write_text("no database")
    with pytest.raises(OutputError, match="cannot be changed"):
        points.write(path, overwrite=True)
    path.unlink()
    with pytest.raises(OutputError, match="cannot be changed"):
        points.write(path, overwrite=True)
