import pytest

from bandloom.classes.taxonomy import Taxonomy, get_taxonomy, shipped
from bandloom.errors import LabelError

SIZES = {
    "eurosat10": 10,
    "worldcover11": 11,
    "sen1floods11": 2,
    "so2sat17": 17,
    "cashew6": 6,
    "sacrop9": 9,
    "oscd2": 2,
    "dynamicworldtiles10": 10,
    "esri9": 9,
    "lucas8": 8,
    "cloudsen12": 4,
    "dfc10": 10,
    "igbp17": 17,
    "mados15": 15,
    "marida15": 15,
    "pastis19": 19,
    "burnscars2": 2,
    "dynamicworld9": 9,
    "corine44": 44,
    "corine15": 15,
    "corine5": 5,
    "bigearthnet43": 43,
    "bigearthnet19": 19,
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_shipped_label_sets_have_their_classes_and_every_parent_exists(name, size):
    taxonomy = get_taxonomy(name)
    assert len(taxonomy.classes) == len(taxonomy.label_set) == size
    parents = {"corine44": "corine15", "bigearthnet43": "corine15", "corine15": "corine5"}
    if name in parents:
        above = {land_class.name for land_class in get_taxonomy(parents[name]).classes}
        assert {land_class.parent for land_class in taxonomy.classes} <= above


def test_nothing_is_shipped_that_is_not_listed_here():
    assert shipped() == sorted(SIZES)


@pytest.mark.parametrize("word", ["Annual crop", "annual-crop", "ANNUALCROP", "0", "maize field"])
def test_a_class_is_found_by_any_of_its_words(word):
    assert get_taxonomy("eurosat10").find(word) == 0


def test_corine_classes_are_found_by_their_own_code():
    corine = get_taxonomy("corine44")
    assert corine.classes[corine.find("311")].name == "Broad-leaved forest"
    assert corine.label_set.codes[corine.find("523")] == 44


def test_every_name_finds_its_own_class():
    for name in shipped():
        taxonomy = get_taxonomy(name)
        assert [taxonomy.find(land_class.name) for land_class in taxonomy.classes] == list(range(len(taxonomy.classes)))


def test_an_unknown_class_names_the_nearest():
    with pytest.raises(LabelError, match=r"'Forrest' is no class.*Did you mean 'Forest'"):
        get_taxonomy("eurosat10").find("Forrest")


def test_an_unknown_label_set_names_the_nearest():
    with pytest.raises(LabelError, match=r"Did you mean 'corine44'"):
        get_taxonomy("corine4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name: x",
        "[1, 2]",
        "name: x\nclasses: 3",
        "name: x\nclasses: [{code: a, name: b}, {code: 1, name: c}]",
        "name: x\nclasses: [{code: 1, name: b}]",
        "name: x\nclasses: [{code: 1, name: b}, {code: 1, name: c}]",
        "name: x\nclasses: [{code: 1, name: b, colour: red}, {code: 2, name: c}]",
        "name: x\ncolours: 1\nclasses: []",
        "name: x\nclasses: [{code: 300, name: b}, {code: 2, name: c}]",
        "{",
        "name: x\nclasses: [{code: 1, nom: b}]",
    ],
)
def test_a_users_own_set_that_cannot_be_used_is_a_sentence(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(LabelError):
        get_taxonomy(str(path))


def test_a_plain_label_set_is_a_taxonomy_without_words():
    plain = get_taxonomy("worldcover11").label_set
    assert Taxonomy.of_label_set(plain).label_set == plain
