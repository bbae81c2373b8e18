"""Colour distances against published pairs, simulated sight against published colours, and every shipped label set."""

import numpy as np
import pytest

from bandloom.classes.colour_vision import SIGHTS, alike, ciede2000, lab, linear, seen_by, sentence
from bandloom.classes.taxonomy import get_taxonomy, shipped
from tests.view.command import run

# pairs nearer than 10 in CIEDE2000 to some sight, and to normal sight: published palettes are kept as they are
ALIKE = {
    "bigearthnet19": (45, 12),
    "bigearthnet43": (185, 36),
    "burnscars2": (0, 0),
    "cashew6": (2, 0),
    "cloudsen12": (0, 0),
    "corine15": (17, 3),
    "corine44": (197, 39),
    "corine5": (1, 0),
    "dfc10": (7, 0),
    "dynamicworld9": (7, 0),
    "dynamicworldtiles10": (7, 0),
    "esri9": (1, 0),
    "eurosat10": (4, 0),
    "igbp17": (25, 4),
    "lucas8": (4, 0),
    "mados15": (16, 1),
    "marida15": (14, 0),
    "oscd2": (0, 0),
    "pastis19": (37, 0),
    "sacrop9": (8, 1),
    "sen1floods11": (0, 0),
    "so2sat17": (23, 1),
    "worldcover11": (4, 0),
}


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [  # Sharma, Wu and Dalal (2005), table 1: among them hues on both sides of 0 degrees, greys, and dark blues
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (61, -5, 29), 22.8977),
        ((50, 2.5, 0), (56, -27, -3), 31.9030),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_distances_are_those_of_the_published_pairs(one, other, distance):
    assert round(float(ciede2000(np.array(one), np.array(other))), 4) == distance
    assert round(float(ciede2000(np.array(other), np.array(one))), 4) == distance


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [  # CIELAB of sRGB's corners under D65
        ((255, 255, 255), (100, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_corners_of_srgb_are_where_cielab_has_them(rgb, expected):
    np.testing.assert_allclose(lab(linear(np.array(rgb))), expected, atol=0.03)


def test_greys_are_seen_alike_by_every_sight_and_red_and_green_are_nearer_to_two():
    greys = linear(np.repeat(np.arange(0, 256, 5)[:, None], 3, axis=1))
    for sight in SIGHTS:
        np.testing.assert_allclose(seen_by(greys, sight), greys, atol=1e-5)  # the rows of each matrix add up to 1
    trees, built = (linear(np.array(colour)) for colour in ((0, 100, 0), (250, 0, 0)))  # of WorldCover
    apart = {sight: float(ciede2000(lab(seen_by(trees, sight)), lab(seen_by(built, sight)))) for sight in SIGHTS}
    assert {sight: round(distance) for sight, distance in apart.items()} == {
        "normal": 70,
        "protan": 1,
        "deutan": 24,
        "tritan": 60,
    }


def test_every_shipped_label_set_has_the_stated_number_of_pairs_that_look_alike():
    told = {}
    for name in shipped():
        labels = get_taxonomy(name).label_set
        pairs = alike(labels.names, labels.colours)
        told[name] = (len(pairs), sum(pair.to_all for pair in pairs))
    assert told == ALIKE


def test_a_sentence_names_the_nearest_pairs_and_how_many_more_there_are():
    assert sentence(["a", "b"], ["#000000", "#ffffff"]) == ""
    labels = get_taxonomy("worldcover11").label_set
    told = sentence(labels.names, labels.colours)
    assert told.startswith("4 pairs of classes have colours nearer than 10 in CIEDE2000 to some sight: ")
    assert "Tree cover and Built-up (1.4, protan sight)" in told
    assert told.endswith(", and 1 more.")
    assert sentence(["a", "b"], ["#000000", "#010101"]).startswith("1 pair of classes has")
    assert "any sight" in sentence(["a", "b"], ["#000000", "#010101"])


def test_the_command_lists_a_set_and_all_sets(capsys):
    assert run("labels", "colours", "worldcover11") == 0
    assert "protan" in capsys.readouterr().out
    assert run("labels", "colours") == 0
    assert "corine44" in capsys.readouterr().out
    assert run("labels", "colours", "none") == 2
