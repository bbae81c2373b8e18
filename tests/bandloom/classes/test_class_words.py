"""Which class a word or a number means: the same for every form of labels, or a refusal."""

import unicodedata

import numpy as np
import pytest

from bandloom.classes.class_words import whole_number
from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.errors import LabelError


def label_set(*classes: dict, ignore: tuple = (0,)) -> Taxonomy:
    return Taxonomy.from_dict({"name": "own", "classes": list(classes), "ignore": list(ignore)}, "own")


TEN = label_set(*({"code": k, "name": f"class {k}"} for k in (1, 2, 3, 10, 20, 30)), ignore=(0, -9))


@pytest.mark.parametrize(
    "value",
    [1, 1.0, "1", "1.0", "1.", "01", " 1 ", "+1", np.int64(1), np.uint8(1), np.float32(1), np.float64(1), np.str_("1")],
)
def test_a_code_is_a_number_however_it_is_written(value):
    assert TEN.words.find(value) == 0


@pytest.mark.parametrize(
    "value", [-1, -1.0, "-1", "\u22121", 0.1, "0.1", 1.5, "1.5", 11, 100, "1,0", "1 0", "1e0", "0x1", "1-"]
)
def test_a_number_is_never_folded_into_another(value):
    with pytest.raises(LabelError, match="is no class of label set 'own'"):
        TEN.words.find(value)


@pytest.mark.parametrize("value", [0, "0", 0.0, -9, "-9.0", 255, "255"])
def test_ignored_codes_mean_no_label(value):
    assert TEN.words.find(value) == 255


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), np.nan])
def test_an_empty_value_is_no_class(value):
    with pytest.raises(LabelError, match="the value is empty"):
        TEN.words.find(value)


@pytest.mark.parametrize("value", [True, np.bool_(True), [1], {"a": 1}, np.datetime64("2018-01-01")])
def test_what_is_neither_a_word_nor_a_number_is_refused(value):
    with pytest.raises(LabelError):
        TEN.words.find(value)


def test_names_that_differ_in_signs_alone_stay_apart():
    signs = label_set(
        *({"code": k + 1, "name": name} for k, name in enumerate(["C+", "C-", "C", "C/D", "CD", "<5 m", ">5 m"]))
    )
    assert [signs.find(name) for name in ("c+", "c-", "c", "C/D", "cd", "<5 m", ">5 M")] == list(range(7))
    for value in ("C++", "-C", "C*", "(C)", "5 m", "=5 m", "C.+"):
        with pytest.raises(LabelError, match="is no class"):
            signs.find(value)


def test_a_spelling_that_could_be_two_names_is_refused():
    both = label_set({"code": 1, "name": "C/D"}, {"code": 2, "name": "CD"})
    with pytest.raises(LabelError, match="could be 'C/D' and 'CD'"):
        both.find("c_d")


@pytest.mark.parametrize("name", ["forêt", "Süßwasser", "Ångström", "水体", "Лес", "ﬁeld"])
def test_names_are_compared_after_nfc_and_case_folding(name):
    words = label_set({"code": 1, "name": name}, {"code": 2, "name": "other"})
    for spelled in (name, name.upper(), name.lower(), unicodedata.normalize("NFD", name), f"\u00a0{name} "):
        assert words.find(spelled) == 0


@pytest.mark.parametrize(
    ("classes", "ignore", "said"),
    [
        ([{"code": 1, "name": "2"}, {"code": 2, "name": "b"}], (), "the number 2 would mean both"),
        ([{"code": 1, "name": "a", "id": "02"}, {"code": 2, "name": "b"}], (), "the number 2 would mean both"),
        ([{"code": 1, "name": "a", "id": 7}, {"code": 2, "name": "b", "synonyms": ["7.0"]}], (), "the number 7 would"),
        (
            [{"code": 1, "name": "a", "id": "0"}, {"code": 2, "name": "b"}],
            (0,),
            "of class 'a' is also a code or id of no label",
        ),
        ([{"code": 1, "name": "Lake"}, {"code": 2, "name": "lake"}], (), "is also a word for class 'Lake'"),
        (
            [{"code": 1, "name": "sea"}, {"code": 2, "name": "b", "synonyms": ["SEA"]}],
            (),
            "is also a word for class 'sea'",
        ),
        ([{"code": 1, "name": "e\u0301"}, {"code": 2, "name": "\u00e9"}], (), "is also a word for"),
    ],
)
def test_what_would_mean_two_classes_is_refused_when_the_label_set_is_read(classes, ignore, said):
    with pytest.raises(LabelError, match=said):
        label_set(*classes, ignore=ignore)


@pytest.mark.parametrize("value", [111, 111.0, "111", "111.0", "0111", "Continuous urban fabric", 1])
def test_corines_own_ids_are_its_classes(value):
    assert get_taxonomy("corine44").words.find(value) == 0


def test_yaml_keeps_words_that_it_would_take_for_something_else(tmp_path):
    path = tmp_path / "set.yaml"
    classes = "- {code: 0, name: no, id: 0111}\n- {code: 010, name: yes, id: 2018-01-01}\n"
    path.write_text(f"\ufeffname: binary\nignore: []\nclasses:\n{classes}")
    words = get_taxonomy(str(path))
    assert words.label_set.names == ("no", "yes")
    assert words.label_set.codes == (0, 10)
    assert [words.words.find(each) for each in ("No", "yes", 111, "2018-01-01", 10)] == [0, 1, 0, 1, 1]


def test_a_class_of_255_is_told_to_take_another_code_and_255_as_its_id(tmp_path):
    with pytest.raises(LabelError, match="give the class another code and write id: 255"):
        label_set({"code": 0, "name": "ground"}, {"code": 255, "name": "water"}, ignore=())
    other = label_set({"code": 0, "name": "ground"}, {"code": 1, "name": "water", "id": 255}, ignore=())
    assert other.words.find(255) == 1


@pytest.mark.parametrize("name", ["corine44", "bigearthnet43", "worldcover11", "eurosat10"])
def test_a_label_set_that_is_written_finds_the_same_classes_when_it_is_read(name):
    shipped = get_taxonomy(name)
    again = Taxonomy.from_dict(shipped.to_dict(), name)
    assert again.label_set == shipped.label_set
    assert again.words.numbers == shipped.words.numbers
    assert [again.find(word) for land_class in shipped.classes for word in land_class.synonyms] == [
        k for k, land_class in enumerate(shipped.classes) for _ in land_class.synonyms
    ]


def test_numbers_beyond_what_a_float_holds_are_words():
    assert whole_number("9" * 30) is None
    assert whole_number(1e300) is None
    assert whole_number("12345") == 12345
