"""The published split of a corpus stands, unless another rule is asked for, which then says what it moves."""

import logging

import pytest

from bandloom.shards.build.splits import choose_splits
from bandloom.shards.store.index import Entry

CELLS = {"+47+009": "train", "+48+010": "test"}


def entry(number, cell, split):
    origin = None if split is None else {"corpus": "ssl4eo-s12-v1.1", "split": split}
    place = {"epsg": 32632, "x_m": 0.0, "y_m": 0.0, "side_px": 264, "datetime": None}
    facts = {"split": "", "valid_fraction": 1.0, "cloud_fraction": None, "has_label": False}
    return Entry(f"k{number}", "00000-000.tar", "sentinel2-l1c", **place, **facts, cells=(cell,), origin=origin)


ENTRIES = [entry(0, "+47+009", "val"), entry(1, "+48+010", "train"), entry(2, "+48+010", None)]


@pytest.mark.parametrize(
    ("told", "splits", "rule"),
    [
        (None, ("val", "train", "buffer"), "published; 1 samples without one by one-degree cells"),
        ("published", ("val", "train", "buffer"), "published; 1 samples"),
        ("geography", ("train", "test", "test"), "one-degree cells by hash"),
        ("train", ("train", "train", "train"), "all in train"),
    ],
)
def test_a_published_split_stands_unless_another_rule_is_asked_for(told, splits, rule, caplog):
    with caplog.at_level(logging.WARNING, "bandloom"):
        logging.getLogger("bandloom").addHandler(caplog.handler)
        chosen = choose_splits(ENTRIES, CELLS, told)
        logging.getLogger("bandloom").removeHandler(caplog.handler)
    assert chosen.splits == splits
    assert chosen.rule.startswith(rule)
    assert ("1 samples of the published val set are in train" in caplog.text) == (told in ("geography", "train"))


def test_without_a_published_split_nothing_changes():
    plain = [entry(0, "+47+009", None), entry(1, "+48+010", None)]
    assert choose_splits(plain, CELLS, None).splits == ("train", "test")
    assert choose_splits(plain, CELLS, None).rule == "one-degree cells by hash, 5000 m buffer"


def test_a_sample_without_a_published_split_is_not_learnt_from_on_published_test_ground():
    """Patches that a set leaves out of its split (snow, cloud) lie on the ground of those in it, at another date."""
    cells = {"+47+009": "train", "+48+010": "train", "+49+011": "test"}
    listed = [entry(0, "+47+009", "test"), entry(1, "+48+010", "train"), entry(2, "+49+011", "train")]
    unlisted = [entry(3 + i, cell, None) for i, cell in enumerate(cells)]
    chosen = choose_splits([*listed, *unlisted], cells, None)
    assert chosen.splits == ("test", "train", "train", "buffer", "train", "buffer")
    assert "2 of them in none: their ground has another published split" in chosen.rule
