"""Tortilla and TACO containers from bytes laid out by hand: items, items in items, and places that cannot be."""

import pytest

from bandloom.errors import SceneError
from bandloom.shards.corpora.tortilla import columns_of, content_of, is_tortilla, items_of
from tests.shards.corpora.cloudsen_replica import tortilla


def items(*contents):
    return [({"tortilla:id": f"i{n}", "tortilla:file_format": "BYTES", "more": n}, c) for n, c in enumerate(contents)]


@pytest.fixture
def file(tmp_path):
    inner = tortilla(items(b"image", b"label"))
    told = {"tortilla:id": "patch", "tortilla:file_format": "TORTILLA", "more": 7}
    path = tmp_path / "a.0000.part.taco"
    path.write_bytes(tortilla([*items(b"first"), (told, inner)], b"WX", b'{"id": "a"}'))
    return path


def test_items_lie_where_the_table_says_and_items_in_items_count_from_their_own_begin(file):
    first, patch = items_of(file, ("more", "not there"))
    assert (first.id, content_of(file, first), first.facts) == ("i0", b"first", {"more": 0})
    assert [content_of(file, item) for item in items_of(file, inside=patch)] == [b"image", b"label"]
    assert columns_of(file)[1] == 2
    assert "more" in columns_of(file)[0]


def test_a_file_is_told_by_its_first_bytes(file, tmp_path):
    assert is_tortilla(file)
    zipped = tmp_path / "version2.taco"
    zipped.write_bytes(b"PK\x03\x04")
    assert not is_tortilla(zipped)
    assert not is_tortilla(tmp_path / "absent.taco")
    assert not is_tortilla(file.rename(tmp_path / "a.bin"))


@pytest.mark.parametrize("kept", [1, 17, 60, 210, 500])
def test_a_file_that_was_cut_short_is_refused(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(SceneError, match="cut short"):
        items_of(file)


@pytest.mark.parametrize(("where", "value"), [(2, 5), (2, 10**12), (10, 2**40), (10, 10**6)])
def test_a_table_beyond_the_file_is_refused(file, where, value):
    content = bytearray(file.read_bytes())
    content[where : where + 8] = value.to_bytes(8, "little")
    file.write_bytes(content)
    with pytest.raises(SceneError, match="fetch it again"):
        items_of(file)


def test_an_item_that_reaches_into_the_table_or_is_none_is_refused(file):
    from bandloom.shards.corpora import tortilla as module

    for row in (
        {"tortilla:id": "a", "tortilla:file_format": "BYTES", "tortilla:offset": 200, "tortilla:length": 901},
        {"tortilla:id": "a", "tortilla:file_format": "BYTES", "tortilla:offset": 3, "tortilla:length": 5},
        {"tortilla:id": "a", "tortilla:file_format": "BYTES", "tortilla:offset": None, "tortilla:length": 5},
        {"tortilla:id": "a"},
    ):
        with pytest.raises(SceneError, match="fetch it again"):
            module._item(file, row, 0, 1100)


def test_a_damaged_table_is_refused(file):
    content = bytearray(file.read_bytes())
    at = int.from_bytes(content[2:10], "little")
    content[at + 8 : at + 40] = b"\xff" * 32
    file.write_bytes(content)
    with pytest.raises(SceneError, match=r"damaged|cut short"):
        items_of(file, ("more",))
