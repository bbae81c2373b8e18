import logging

import pytest

from bandloom.errors import TextError
from bandloom.finetune.text.captions.caption_file import kept_captions, read_captions, read_rows


@pytest.fixture(name="file")
def of_captions(tmp_path):
    def write(text: str, encoding: str = "utf-8"):
        path = tmp_path / "captions.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_rows_keep_their_lines_quotes_and_further_columns_are_left_aside(file):
    path = file('id,key,caption\n1, a ,"a lake, and\na road"\n2,b,\n')
    assert read_rows(path, "caption") == [(3, "a", "a lake, and\na road"), (4, "b", "")]


def test_a_byte_order_mark_is_no_part_of_a_name(file):
    assert read_rows(file("key,caption\na,sea\n", "utf-8-sig"), "caption") == [(2, "a", "sea")]


def test_a_sample_may_have_several_captions_with_spaces_made_one(file):
    path = file("key,caption\na,one  lake\nb,sand\na,two\troads\n")
    assert read_captions(path, {"a", "b"}, turned=False) == {"a": ["one lake", "two roads"], "b": ["sand"]}


def test_directions_go_where_images_are_turned_and_what_is_left_empty_is_dropped(caplog):
    rows = [("a", "a lake in the north"), ("b", "sand"), ("c", "north")]
    with caplog.at_level(logging.INFO):
        kept = kept_captions(rows, turned=True)
    assert kept["b"] == ["sand"]
    assert "north" not in kept["a"][0]
    assert kept_captions(rows, turned=False)["a"] == ["a lake in the north"]
    assert "words of direction were taken out of" in caplog.text


def test_captions_of_other_samples_are_counted(file, caplog):
    with caplog.at_level(logging.WARNING):
        assert read_captions(file("key,caption\na,sea\nz,sand\n"), {"a"}, turned=False) == {"a": ["sea"]}
    assert "1 of 2 captions are of samples that the shards do not hold, such as z" in caplog.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("key,text\na,sea\n", r"has no column 'caption' \(it has key, text\)"),
        ("", r"has no column 'key' \(it has none\)"),
        ("key,caption\na, \n", "has 1 empty captions, the first in line 2"),
        ("key,caption\nz,sea\n", r"none of the 1 keys in .* \(such as 'z'\) is in the shards \(theirs are like 'a'\)"),
        ("key,caption\n", r"none of the 0 keys"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(file, text, sentence):
    with pytest.raises(TextError, match=sentence):
        read_captions(file(text), ["a"], turned=False)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("key,caption\na,a lake, and a road\n", "line 2 has more cells than the first"),
        ('key,caption\na,"a lake\nb,sand\n', "unexpected end of data"),
        ("key,caption,caption\na,sea,sand\n", "has the column 'caption' twice"),
        ("key,key,caption\na,b,sand\n", "has the column 'key' twice"),
    ],
)
def test_a_caption_that_would_be_cut_or_joined_to_another_sample_is_refused(file, text, sentence):
    with pytest.raises(TextError, match=sentence):
        read_captions(file(text), ["a", "b"], turned=False)


def test_a_file_that_is_absent_or_no_text_is_a_sentence(file, tmp_path):
    with pytest.raises(TextError, match="cannot be read"):
        read_rows(tmp_path / "none.csv", "caption")
    with pytest.raises(TextError, match="expected a UTF-8 CSV"):
        read_rows(file("key,caption\na,Köln\n", "latin-1"), "caption")
