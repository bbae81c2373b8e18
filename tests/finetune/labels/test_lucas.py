"""LUCAS's table becomes points where somebody stood: no theoretical places, no observations from the road."""

import csv

import pytest

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.cli import main
from bandloom.errors import LabelError
from bandloom.finetune.labels.lucas import write_points

HEAD = "point_id,year,th_lat,th_long,gps_lat,gps_long,gps_prec,gps_ew,obs_dist,lc1,survey_date"
ROWS = (
    "1,2018,50.0,10.0,50.00001,10.00002,3,1,0,B11,01/06/2018",
    "2,2018,51.0,-3.0,51.00001,3.00002,4,2,5,C10,01/06/2018",  # west, its sign in a column of its own
    "3,2018,52.0,11.0,88.888888,88.888888,8888,8,0,A11,01/06/2018",  # no position
    "4,2018,53.0,12.0,53.0,12.001,3,1,250,E10,01/06/2018",  # seen from the road
    "5,2018,54.0,13.0,54.0,13.0,90,1,0,E10,01/06/2018",  # poor GPS
    "6,2015,55.0,14.0,55.0,14.0,3,1,0,G11,01/06/2015",
    "7,2018,56.0,15.0,56.0,15.0,3,1,0,8,01/06/2018",  # nothing told
)


@pytest.fixture(name="table")
def a_table(tmp_path):
    path = tmp_path / "lucas.csv"
    path.write_text("\n".join((HEAD, *ROWS)) + "\n")
    return path


def test_points_lie_where_the_observer_stood(table, tmp_path):
    found = write_points(table, tmp_path / "points.csv", year=2018)
    rows = list(csv.DictReader((tmp_path / "points.csv").read_text().splitlines()))
    assert [(row["point_id"], float(row["lon"]), float(row["lat"]), row["class"]) for row in rows] == [
        ("1", 10.00002, 50.00001, "B"),
        ("2", -3.00002, 51.00001, "C"),
    ]
    assert (found.written, sum(found.left_out.values())) == (2, 5)
    assert get_taxonomy("lucas8").find("B") == 1


@pytest.mark.parametrize("west", ["2", "2.0", "W", "w"])
def test_west_is_west_however_the_table_spells_its_codes(table, tmp_path, west):
    row = f"2.0,2018.0,51.0,-3.0,51.00001,3.00002,4.0,{west},5.0,C10,01/06/2018"
    table.write_text("\n".join((HEAD, row)))
    write_points(table, tmp_path / "points.csv", year=2018)
    (point,) = csv.DictReader((tmp_path / "points.csv").read_text().splitlines())
    assert (float(point["lon"]), point["point_id"], point["year"]) == (-3.00002, "2", "2018")


def test_the_command_says_what_it_left_out(table, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["labels", "lucas", str(table), "--out", str(tmp_path / "points.csv")])
    assert not end.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert "3 points" in said
    assert "1 without a GPS position" in said


def test_what_contradicts_itself_is_refused(table, tmp_path):
    table.write_text("\n".join((HEAD, "1,2018,50.0,10.0,50.0,-10.0,3,1,0,B11,x")))
    with pytest.raises(LabelError, match=r"lies east \(gps_ew 1\) at -10"):
        write_points(table, tmp_path / "points.csv")
    table.write_text("\n".join((HEAD, ROWS[3])))
    with pytest.raises(LabelError, match="has no point to use"):
        write_points(table, tmp_path / "points.csv")
