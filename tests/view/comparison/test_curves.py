import json
import re
from pathlib import Path

from bandloom.view.charts import COLOURS
from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.curves import sections
from tests.view.comparison.made_run import counts, make_run


def lines(*values: dict) -> list[str]:
    return [json.dumps(value) for value in values]


def test_one_chart_holds_both_curves_and_what_one_run_lacks_is_named(tmp_path: Path):
    one = lines(
        {"step": 1, "kind": "train", "loss": 1.0, "lr": 0.1},
        {"step": 2, "kind": "train", "loss": 0.5, "lr": 0.1},
        {"step": 2, "kind": "score", "validation_macro_f1": 0.5},
    )
    other = lines({"step": 4, "kind": "train", "loss": 2.0}, {"step": 4, "kind": "score", "validation_macro_f1": 0.7})
    runs = [make_run(tmp_path / name, counts(0), lines=held) for name, held in (("a", one), ("b", other))]
    [section] = sections(Compared(runs, ("1: a", "2: b")))
    loss, validation = section.charts
    assert "<figcaption>Loss</figcaption>" in loss
    assert re.findall(r'<polyline[^>]*stroke="(#\w+)"', loss) == list(COLOURS[:2])
    assert "1: a, step 2: 0.5" in loss
    assert "2: b, step 4: 2" in loss
    assert ">loss, logarithmic</text>" in loss
    assert ">step</text>" in loss
    assert ">macro-F1</text>" in validation
    assert section.note == "Only one has: learning rate (1: a)."
    last_a = float(re.findall(r'points="[^"]* ([\d.]+),[\d.]+"', loss)[0])
    [point_b] = re.findall(r'points="([\d.]+),[\d.]+"', loss)
    assert last_a < float(point_b)  # step 2 lies left of step 4: one axis


def test_a_third_run_without_a_curve_takes_no_colour_of_the_others(tmp_path: Path):
    held = lines({"step": 1, "kind": "train", "loss": 1.0})
    runs = [make_run(tmp_path / name, counts(0), lines=held if name != "b" else ()) for name in "abc"]
    [section] = sections(Compared(runs, ("1: a", "2: b", "3: c")))
    assert re.findall(r'<polyline[^>]*stroke="(#\w+)"', section.charts[0]) == [COLOURS[0], COLOURS[2]]


def test_runs_without_lines_have_no_curves(tmp_path: Path):
    runs = [make_run(tmp_path / name, counts(0)) for name in "ab"]
    [section] = sections(Compared(runs, ("1: a", "2: b")))
    assert section.is_empty
