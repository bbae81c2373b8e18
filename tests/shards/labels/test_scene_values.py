"""Tables of values by chip, and what is wrong with them in one sentence."""

import pytest

from bandloom.errors import LabelError
from bandloom.shards.labels.scene_values import read_value_table, stem_of


def test_a_chip_is_named_by_its_key_its_path_or_its_name(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("note,file,value\na,chips/one.tif,1.5\nb,two.TIF,-2e1\nc,three,\nd, four ,0\n")
    assert dict(read_value_table(path, "value")) == {"one": 1.5, "two": -20.0, "four": 0.0}


@pytest.mark.parametrize(("text", "name"), [("a/b.c/d.tif", "d"), ("d", "d"), ("x.y.tif", "x.y"), (" d.tif ", "d")])
def test_names_lose_folders_and_the_suffix_alone(text, name):
    assert stem_of(text) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has none of the columns key, path"),
        ("chip,value\na,1\n", "has none of the columns key, path"),
        ("path,valeu\na,1\n", r"no column 'value' \(it has path, valeu\).*Did you mean 'valeu'"),
        ("path,value\na,1\nb/a.tif,2\n", "line 3: 'a' has a value already"),
        ("path,value\n\na,1\n\n\nb,tall\n", "line 6: 'tall' is no number"),
        ("path,value\na,tall\n", "line 2: 'tall' is no number"),
        ("path,value\na,nan\n", "line 2: 'nan' is no number"),
        ("path,value\na,inf\n", "line 2: 'inf' is no number"),
        ("path,value\na,1_5.5\n", "line 2: '1_5.5' is no number"),
        ("key,height\na,1,5\n", "line 2 has more cells than the first"),
        ("key,value,value\na,1,2\n", "'value' twice"),
    ],
)
def test_a_table_that_cannot_be_meant_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "v.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=said):
        read_value_table(path, "value")


def test_a_missing_table_is_one_sentence(tmp_path):
    with pytest.raises(LabelError, match="cannot be read"):
        read_value_table(tmp_path / "none.csv", "value")
