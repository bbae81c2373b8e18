"""The commands of docs/assess.md, run as they stand."""

import csv
import json
import shlex
from pathlib import Path

import pytest

from bandloom.cli import main
from tests.export.assess.maps import codes_of_a_map, write_map
from tests.test_docs_commands import blocks_of

PAGE = Path(__file__).parents[3] / "docs" / "assess.md"


def test_the_commands_of_the_page_draw_points_and_score_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_map(Path("map.tif"), codes_of_a_map())
    draw, score = [line for block in blocks_of(PAGE) for line in block.commands]
    for line in (draw, score):
        with pytest.raises(SystemExit) as stopped:
            main(shlex.split(line)[1:])
        assert stopped.value.code == 0
        text = Path("points.csv").read_text().splitlines()
        rows = list(csv.DictReader(text))
        with Path("labelled.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"class": row["stratum"]} for row in rows)
    assert json.loads(Path("score.json").read_text())["points"] == 300
