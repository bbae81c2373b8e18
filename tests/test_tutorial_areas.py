"""docs/tutorial-areas.md, typed as it stands; its truth is the generated ground's."""

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bandloom.shards.synth import label_set, synthesise
from tests.test_docs_commands import blocks_of
from tests.view.command import run

PAGE = Path(__file__).parents[1] / "docs" / "tutorial-areas.md"
TEXT = PAGE.read_text()
ROW = re.compile(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) ± ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
PLACE_SEED, SIDE_PX = 5000, 480  # of the page's last `shards synth`


def fenced(kind: str) -> str:
    (text,) = re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)
    return text


def test_the_page_lays_the_generated_truth_beside_its_table():
    assert f"--size {SIDE_PX} --seed {PLACE_SEED}" in TEXT
    truth = synthesise(SIDE_PX, PLACE_SEED).label
    told = {name: [float(cell) for cell in cells] for name, *cells in ROW.findall(TEXT)}
    hectares = {each.name: (truth == each.code).sum() / 100 for each in label_set("land-cover").classes}
    assert told.keys() == hectares.keys()
    for name, (_, estimate, half_width, true_ha) in told.items():
        assert true_ha == pytest.approx(hectares[name]), name
        assert abs(estimate - true_ha) <= half_width, name  # as the page says


@pytest.mark.slow
def test_the_tutorial_goes_from_a_scene_to_hectares_whose_intervals_hold_the_truth(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("segment.yaml").write_text(fenced("yaml"))
    Path("answer.py").write_text(fenced("python"))
    Path("zones.geojson").write_text(fenced("json"))
    for line in [line for block in blocks_of(PAGE) if block.run_by for line in block.commands]:
        if "labelled.csv" in line:
            subprocess.run([sys.executable, "answer.py"], check=True)
        assert run(*shlex.split(line)[1:]) == 0, line
    score = json.loads(Path("score.json").read_text())
    assert score["methods"] in capsys.readouterr().out
    assert score["probability_sample"]
    assert score["points"] == 600
    with rasterio.open("new/labels/scene_05000.tif") as file:
        truth = file.read(1)
    codes = {each.name: each.code for each in label_set("land-cover").classes}
    rows = list(csv.DictReader(Path("areas.csv").read_text().splitlines()))
    low, high, true_ha = (
        np.array(values)
        for values in (
            [float(row["area_ha_low_95"]) for row in rows],
            [float(row["area_ha_high_95"]) for row in rows],
            [(truth == codes[row["class"]]).sum() / 100 for row in rows],
        )
    )
    assert ((low <= true_ha) & (true_ha <= high)).mean() >= 0.8  # 95 % in the mean over many draws
    mapped = sum(float(row["mapped_ha"]) for row in rows)
    assert mapped == pytest.approx(2304)
    zones = list(csv.DictReader(Path("zones.csv").read_text().splitlines()))
    assert [zone["zone"] for zone in zones] == ["west", "east"]
    assert sum(float(zone["mapped_ha"]) for zone in zones) == pytest.approx(mapped)
    assert hectares_of_polygons(Path("map.gpkg")) == pytest.approx(mapped)


def hectares_of_polygons(path: Path) -> float:
    pyogrio = pytest.importorskip("pyogrio")
    meta, _, _, values = pyogrio.raw.read(path)
    return float(values[list(meta["fields"]).index("hectares")].sum())
