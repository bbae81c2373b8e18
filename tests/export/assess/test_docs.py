"""The commands of docs/assess.md, run as they stand."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import pytest

from bandloom.cli import main
from bandloom.export.maps.change_grid import PAIR
from tests.export.maps.maps import codes_of_a_map, write_map
from tests.export.maps.test_change_grid import later_codes
from tests.test_docs_commands import blocks_of
from tests.view.command import run

PAGE = Path(__file__).parents[3] / "docs" / "assess.md"


def test_the_commands_of_the_page_draw_points_and_score_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_map(Path("map.tif"), codes_of_a_map())
    lines = [line for block in blocks_of(PAGE) for line in block.commands if line.startswith("bandloom assess")]
    draw, agree, score = [line for line in lines if "--before" not in line]
    for line in (draw, agree, score):
        with pytest.raises(SystemExit) as stopped:
            main(shlex.split(line)[1:])
        assert stopped.value.code == 0
        text = Path("points.csv").read_text().splitlines()
        rows = list(csv.DictReader(text))
        with Path("labelled.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"class": row["stratum"]} for row in rows)
        for who in ("anna", "ben"):
            shutil.copy("labelled.csv", f"points-{who}.csv")
    assert json.loads(Path("score.json").read_text())["points"] == 300


def test_the_commands_about_change_draw_points_and_score_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_map(Path("map2019.tif"), codes_of_a_map())
    write_map(Path("map2024.tif"), later_codes())
    draw, score = [line for block in blocks_of(PAGE) for line in block.commands if "--before" in line]
    assert run(*shlex.split(draw)[1:]) == 0
    rows = list(csv.DictReader(Path("changes.csv").read_text().splitlines()))
    with Path("labelled-changes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            before, after = divmod(int(row["stratum"]), PAIR)
            writer.writerow(row | {"class_before": before, "class": after})
    assert run(*shlex.split(score)[1:]) == 0
    record = json.loads(Path("change.json").read_text())
    net = {told["name"]: told["net_ha"]["value"] for told in record["change"]["classes"]}
    assert net["tree"] == pytest.approx(-net["crop"])
    assert net["tree"] > 0
