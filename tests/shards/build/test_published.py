"""Published splits in a build: cells by role, counts, and copies that a published split leaves on both sides."""

from bandloom.shards.build.published import cell_of, describe_published, say_shared, split_of_published
from bandloom.shards.store.index import Entry


def entry(key: str, published: dict[str, str], pixels: str) -> Entry:
    cells = (cell_of(published),)
    return Entry(
        key,
        "a.tar",
        "s",
        32633,
        0.0,
        0.0,
        6,
        None,
        "",
        1.0,
        None,
        True,
        0,
        cells=cells,
        xxh3={"g10.b2nd": pixels},
        published=published,
    )


ENTRIES = [
    entry("a", {"random": "train", "spatial": "test"}, "1"),
    entry("b", {"spatial": "train", "random": "test"}, "1"),
    entry("c", {"random": "train"}, "1"),
    entry("d", {}, "2"),
]


def test_samples_of_the_same_roles_share_a_cell_and_its_split():
    assert cell_of({"b": "test", "a": "train"}) == cell_of({"a": "train", "b": "test"})
    splits = split_of_published(ENTRIES, "random")
    assert [splits[entry.cells[0]] for entry in ENTRIES] == ["train", "test", "train", "buffer"]
    splits = split_of_published(ENTRIES, "spatial")
    assert [splits[entry.cells[0]] for entry in ENTRIES] == ["test", "train", "buffer", "buffer"]


def test_every_split_is_counted():
    assert describe_published(ENTRIES, "random") == {
        "default": "random",
        "splits": {"random": {"test": 1, "train": 2}, "spatial": {"test": 1, "train": 1}},
    }


def test_copies_on_both_sides_are_said_and_kept():
    assert "1 samples repeat the pixels" in (say_shared(ENTRIES, "random") or "")
    assert say_shared(ENTRIES[:1] + ENTRIES[2:], "random") is None


def test_the_index_keeps_roles_and_older_lines_stay_as_they_were():
    import json

    line = ENTRIES[0].to_json()
    assert Entry.from_record(json.loads(line)).published == {"random": "train", "spatial": "test"}
    plain = Entry("a", "a.tar", "s", 32633, 0.0, 0.0, 6, None, "", 1.0, None, True)
    assert "published" not in json.loads(plain.to_json())
