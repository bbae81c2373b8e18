"""Agreement of two labellers against scikit-learn's kappa."""

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from bandloom.errors import LabelError
from bandloom.export.assess.agreement import agreement, merged
from bandloom.export.assess.draw import draw_sample
from bandloom.export.assess.write_points import write_sample
from bandloom.files.points_file import read_points_file
from tests.export.maps.maps import NAMES, codes_of_a_map, write_map
from tests.view.command import run


@pytest.fixture
def pair(tmp_path):
    """Two labellers who differ about one point in five, and left some out."""
    sample = draw_sample(write_map(tmp_path / "map.tif", codes_of_a_map()), 20, None, 1)
    rng, names = np.random.default_rng(4), list(NAMES.values())
    first = rng.choice(names, 60).tolist()
    second = [name if rng.random() < 0.8 else rng.choice(names) for name in first]
    first[3], second[7] = None, None
    files = []
    for who, said in (("anna", first), ("ben", second)):
        write_sample(tmp_path / f"{who}.csv", sample)
        points = read_points_file(tmp_path / f"{who}.csv")
        points.columns |= {"class": said, "comment": [who if name == "water" else "" for name in said]}
        points.write(points.path, overwrite=True)
        files.append(points)
    return files, first, second


def test_kappa_is_that_of_scikit_learn(pair):
    files, first, second = pair
    both = [(a, b) for a, b in zip(first, second, strict=True) if a and b]
    found = agreement(*files)
    assert found.kappa == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
    assert found.observed == pytest.approx(np.mean([a == b for a, b in both]))
    assert (found.points, len(found.both)) == (60, 58)
    assert [each[1:] for each in found.differing] == [(a, b) for a, b in both if a != b]


def test_the_command_leaves_open_what_the_two_see_differently(pair, tmp_path, capsys):
    _, first, second = pair
    out = tmp_path / "both.csv"
    assert run("assess", "agree", tmp_path / "anna.csv", tmp_path / "ben.csv", "--out", out) == 0
    shown = capsys.readouterr().out
    assert "kappa" in shown
    merged = read_points_file(out)
    expected = [a if a == b else "" for a, b in zip(first, second, strict=True)]
    assert [value or "" for value in merged.columns["class"]] == [name or "" for name in expected]
    water = [number for number, name in enumerate(expected) if name == "water"]
    assert {merged.columns["comment"][number] for number in water} == {"anna; ben"}
    assert merged.columns["stratum_pixels"] == read_points_file(tmp_path / "anna.csv").columns["stratum_pixels"]


def test_other_points_are_refused_and_one_class_has_no_kappa(pair, tmp_path):
    (anna, ben), *_ = pair
    ben.places = ben.places[::-1]
    with pytest.raises(LabelError, match="hold different points"):
        agreement(anna, ben)
    anna.columns["class"] = ["water"] * 60
    assert math.isnan(agreement(anna, anna).kappa)


def test_a_class_is_the_same_by_code_and_in_any_case_and_unicode_form(pair):
    (anna, ben), *_ = pair
    anna.columns["class"] = ["Water", "2.0", "for\u00eat", 4] * 15
    ben.columns["class"] = ["water", 2, "fore\u0302t", "4"] * 15
    assert agreement(anna, ben).observed == 1
    assert merged(anna, ben).columns["class"] == anna.columns["class"]


def test_of_a_change_both_classes_must_agree(pair):
    (anna, ben), *_ = pair
    for points in (anna, ben):
        points.columns |= {"class": ["water"] * 60, "class_before": ["crop"] * 60}
    ben.columns["class_before"] = ["tree"] * 12 + ["crop"] * 48
    assert agreement(anna, ben).observed == pytest.approx(0.8)
    both = merged(anna, ben).columns
    assert [both["class"][0], both["class_before"][0], both["class_before"][12]] == [None, None, "crop"]
    del ben.columns["class_before"]
    with pytest.raises(LabelError, match="one has no column 'class_before'"):
        agreement(anna, ben)
