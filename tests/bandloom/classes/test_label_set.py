"""Label sets translate raster codes to class indices, and refuse what they do not know."""

import numpy as np
import pytest

from bandloom.classes.label_set import IGNORE_INDEX, LabelClass, LabelSet, majority_classes
from bandloom.errors import LabelError

SET = LabelSet("water", (LabelClass(10, "land", "#00aa00"), LabelClass(80, "water", "#0000ff")), ignore=(0, -1))


def test_codes_become_indices_and_ignored_codes_255() -> None:
    raster = np.array([[10, 80], [0, -1]], np.int16)
    assert SET.index_of(raster).tolist() == [[0, 1], [IGNORE_INDEX, IGNORE_INDEX]]


def test_a_value_outside_the_set_is_named() -> None:
    with pytest.raises(LabelError, match=r"a\.tif holds the value 7, which is not in label set 'water'"):
        SET.index_of(np.array([[7]]), "a.tif")


def test_a_record_survives_its_own_json() -> None:
    assert LabelSet.from_dict(SET.to_dict()) == SET


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"classes": [{"code": 1, "name": "a"}]}, "it needs 2 to 250"),
        ({"classes": [{"code": 1, "name": "a"}, {"code": 1, "name": "b"}]}, "the code 1 to two classes"),
        ({"classes": [{"code": 1, "name": "a"}, {"code": 2, "name": "a"}]}, "the name 'a' to two classes"),
        ({"classes": [{"code": 1, "name": "a"}, {"code": 255, "name": "b"}]}, r"outside 0\.\.254"),
        ({"classes": [{"code": 1, "name": "a"}, {"code": 0, "name": "b"}]}, "both names and ignores"),
        ({"classes": [{"code": 1, "name": "a", "colour": "red"}, {"code": 2, "name": "b"}]}, "#rrggbb"),
        ({"klasses": []}, "unknown key"),
    ],
)
def test_a_set_that_cannot_be_used_says_why(change: dict, sentence: str) -> None:
    record = {"name": "x", "classes": [{"code": 1, "name": "a"}, {"code": 2, "name": "b"}]} | change
    with pytest.raises(LabelError, match=sentence):
        LabelSet.from_dict(record)


def test_majority_classes_are_those_of_a_naive_loop():
    rng = np.random.default_rng(0)
    label = rng.choice([0, 3, 7, IGNORE_INDEX], (24, 24), p=[0.3, 0.2, 0.1, 0.4]).astype(np.uint8)
    label[:6, :6] = IGNORE_INDEX
    wanted = []
    for y in range(0, 24, 6):
        for x in range(0, 24, 6):
            cell = [int(k) for k in label[y : y + 6, x : x + 6].ravel() if k != IGNORE_INDEX]
            wanted.append(max(sorted(set(cell)), key=cell.count) if cell else IGNORE_INDEX)
    np.testing.assert_array_equal(majority_classes(label, 6).ravel(), wanted)


def test_a_square_without_a_clear_class_has_none():
    label = np.full((6, 12), 255, np.uint8)
    label[:, :2], label[:, 6:10], label[:, 10:] = 0, 1, 2
    assert majority_classes(label, 6, 0.5).tolist() == [[255, 1]]
    assert (majority_classes(np.full((6, 6), 255, np.uint8), 6) == 255).all()
