import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandloom.classes.class_colours import with_colours
from bandloom.classes.label_set import LabelClass, LabelSet

WATER, TREES = "#0064c8", "#006400"


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("water", WATER),
        ("SeaLake", WATER),
        ("open water", WATER),
        ("Forest", TREES),
        ("trees", TREES),
        ("cropland", "#f096ff"),
        ("built_area", "#fa0000"),
        ("bare ground", "#b4b4b4"),
        ("grasses", "#ffff4c"),
    ],
)
def test_a_word_has_the_colour_that_people_expect(name: str, colour: str):
    assert with_colours([name, "something"], ["", ""])[0] == colour


def test_a_word_inside_another_word_is_none():
    assert with_colours(["rice", "seasonal"], ["", ""]) != with_colours(["ice", "sea"], ["", ""])


@given(
    st.lists(
        st.tuples(st.sampled_from(["water", "lake", "a", "b", "trees"]), st.sampled_from(["", "#888888"])), max_size=250
    )
)
def test_colours_given_stay_and_no_two_given_here_are_equal(classes: list[tuple[str, str]]):
    given_colours = [colour for _, colour in classes]
    found = with_colours([name for name, _ in classes], given_colours)
    made = [colour for colour, told in zip(found, given_colours, strict=True) if not told]
    assert [colour for colour, told in zip(found, given_colours, strict=True) if told] == [
        c for c in given_colours if c
    ]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in found)


def test_a_label_set_without_colours_can_be_told_apart():
    labels = LabelSet("mine", (LabelClass(1, "wheat"), LabelClass(2, "maize"), LabelClass(3, "pond", "#123456")))
    assert len({land_class.colour for land_class in labels.classes}) == 3
    assert labels.classes[2].colour == "#123456"
    assert LabelSet.from_dict(labels.to_dict()) == labels
