"""Area change against a worked example of its authors, and against simulation."""

import csv
import json

import numpy as np
import pytest

from bandloom.export.assess.change import area_change
from bandloom.export.assess.draw import draw_sample
from bandloom.export.assess.matched_points import MatchedPoints
from bandloom.export.assess.score import assess_map
from bandloom.export.assess.write_points import write_sample
from bandloom.export.maps.change_grid import PAIR, ChangeGrid
from bandloom.shards.labels.reading import LabelReading
from tests.export.assess.test_estimates import COUNTS, PIXELS, sample_of
from tests.export.maps.maps import NAMES, codes_of_a_map, write_map
from tests.export.maps.test_change_grid import later_codes
from tests.view.command import run

FOREST, OTHER = 1, 2
# the classes of the example: deforestation, forest gain, stable forest, stable non-forest
PAIRS = [FOREST * PAIR + OTHER, OTHER * PAIR + FOREST, FOREST * PAIR + FOREST, OTHER * PAIR + OTHER]


@pytest.fixture
def grid(tmp_path):
    return ChangeGrid(write_map(tmp_path / "old.tif", codes_of_a_map()), write_map(tmp_path / "new.tif", later_codes()))


def test_lost_and_won_forest_are_those_of_the_worked_example(grid):
    """Olofsson et al. (2014), page 54: 235,086 ± 68,418 pixels of deforestation; the others by its equations 10, 11."""
    change = area_change(grid, MatchedPoints(sample_of(COUNTS, PIXELS), PAIRS, True))
    forest = change.classes["water"]  # the class of code 1
    lost, won, net = (getattr(forest, name) for name in ("lost_ha", "won_ha", "net_ha"))
    assert (round(lost.value / 0.09), round(lost.half_width / 0.09, -1)) == (235_086, 68_420)
    weights, n = PIXELS / PIXELS.sum(), COUNTS.sum(1)
    share = COUNTS / n[:, None]
    total = PIXELS.sum() * 0.09
    assert won.value == pytest.approx(weights @ share[:, 1] * total)
    assert (
        net.value
        == pytest.approx(won.value - lost.value)
        == pytest.approx(forest.after_ha.value - forest.before_ha.value)
    )
    mean = share[:, 1] - share[:, 0]  # of a variable of -1, 0 and 1, whose square is one where the forest changed
    variance = (share[:, 0] + share[:, 1] - mean**2) * n / (n - 1)
    assert net.standard_error == pytest.approx(np.sqrt(weights**2 @ (variance / n)) * total)
    assert net.interval[0] < 0
    assert change.changed_ha.value == pytest.approx(lost.value + won.value)


def test_the_interval_of_a_net_change_holds_the_truth_in_93_to_97_of_100_draws(grid):
    truth = np.array(
        [[0.80, 0.05, 0.10, 0.05], [0.05, 0.75, 0.08, 0.12], [0.05, 0.06, 0.84, 0.05], [0.06, 0.05, 0.05, 0.84]]
    )
    pixels, draws, points = np.array([80_000, 50_000, 400_000, 470_000]), 1000, 300
    rng, held = np.random.default_rng(2), []
    drawn = np.stack([rng.multinomial(points, row, draws) for row in truth], axis=1)
    area = pixels @ truth * 0.09
    for counts in drawn:
        forest = area_change(grid, MatchedPoints(sample_of(counts, pixels), PAIRS, True)).classes["water"]
        for estimate, expected in ((forest.net_ha, area[1] - area[0]), (forest.lost_ha, area[0])):
            held.append(estimate.interval[0] <= expected <= estimate.interval[1])
    coverage = np.reshape(held, (-1, 2)).mean(0)
    assert ((coverage >= 0.93) & (coverage <= 0.97)).all(), coverage


def test_the_commands_draw_what_became_what_and_score_it(tmp_path, capsys):
    """Every point is labelled as the truth, which differs from the maps in a corner."""
    old, new = codes_of_a_map(), later_codes()
    paths = write_map(tmp_path / "old.tif", old), write_map(tmp_path / "new.tif", new)
    points, out = tmp_path / "points.csv", tmp_path / "score.json"
    words = ("--before", paths[0], "--per-class", 40, "--total", 400, "--seed", 3)
    assert run("assess", "sample", paths[1], *words, "--out", points) == 0
    assert "--before" in capsys.readouterr().out
    truth = new.copy()
    truth[60:80, 30:60][truth[60:80, 30:60] == 2] = 1
    sample = draw_sample(paths[1], 40, 400, 3, paths[0])
    columns, lines = ~sample.grid.transform * tuple(sample.xy.T)
    at = lines.astype(int), columns.astype(int)
    with points.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with points.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row, before, after in zip(rows, old[at].tolist(), truth[at].tolist(), strict=True):
            writer.writerow(row | {"class_before": NAMES[before], "class": after})
    assert run("assess", "score", paths[1], points, "--before", paths[0], "--out", out) == 0
    shown, record = capsys.readouterr().out, json.loads(out.read_text())
    assert "net changes of area were" in record["methods"]
    assert "ha changed" in shown
    valid = (old != 255) & (new != 255)
    for told in record["change"]["classes"]:
        code = next(code for code, name in NAMES.items() if name == told["name"])
        net = ((truth == code)[valid].sum() - (old == code)[valid].sum()) * 0.01
        low, high = told["net_ha"]["interval_95"]
        assert low - 1e-9 <= net <= high + 1e-9


def test_a_sample_of_change_brings_both_columns_in_a_geopackage_too(tmp_path):
    paths = write_map(tmp_path / "old.tif", codes_of_a_map()), write_map(tmp_path / "new.tif", later_codes())
    write_sample(tmp_path / "points.gpkg", draw_sample(paths[1], 5, None, 0, paths[0]))
    import pyogrio

    fields = pyogrio.read_info(tmp_path / "points.gpkg")["fields"].tolist()
    assert fields[1:3] == ["class_before", "class"]
    with pytest.raises(Exception, match="has no point with a class"):
        assess_map(paths[1], tmp_path / "points.gpkg", LabelReading(), paths[0])
