import json
from pathlib import Path

import numpy as np
import rasterio
import yaml

from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.settings import ABSENT, flat, sections
from bandloom.view.records import read_record
from tests.view.comparison.test_maps import write_map


def record(folder: Path, config: dict):
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return read_record(folder)


def test_only_lines_that_differ_are_shown_and_all_others_are_folded(tmp_path: Path):
    one = {"size": "demo", "trainer": {"steps": 4, "engine": {"lr": 0.1}}, "bands": None, "only": [1, 2]}
    other = {"size": "demo", "trainer": {"steps": 4, "engine": {"lr": 0.2}}, "bands": "null", "late": True}
    runs = [record(tmp_path / "a", one), record(tmp_path / "b", other)]
    [section] = sections(Compared(runs, ("1: a", "2: b")))
    [differing], [fold] = section.tables, section.folds
    assert [list(row) for row in differing.rows] == [
        ["trainer.engine.lr", "0.1", "0.2"],
        ["only", "[1, 2]", ABSENT],
        ["late", ABSENT, "true"],
    ]
    assert fold.summary == "3 lines are the same"
    assert [row[0] for row in fold.tables[0].rows] == ["size", "trainer.steps", "bands"]


def test_every_line_is_shown_once(tmp_path: Path):
    configs = [{"a": {"b": i, "c": {"d": 1}}, "e": i % 2} for i in range(3)]
    runs = [record(tmp_path / str(i), config) for i, config in enumerate(configs)]
    [section] = sections(Compared(runs, ("1", "2", "3")))
    shown = [row[0] for row in [*section.tables[0].rows, *section.folds[0].tables[0].rows]]
    assert sorted(shown) == sorted(flat(configs[0]))


def test_equal_settings_are_said_to_be_equal(tmp_path: Path):
    runs = [record(tmp_path / name, {"seed": 1}) for name in "ab"]
    [section] = sections(Compared(runs, ("1: a", "2: b")))
    assert section.note == "No line of their settings differs."
    assert not section.tables


def test_shards_and_bundles_differ_by_what_they_were_made_from(chain: Path):
    for kind in ("shards", "bundle", "map.tif"):
        [section] = sections(Compared([read_record(chain / kind)] * 2, ("1", "2")))
        assert not section.tables
        assert len(section.folds[0].tables[0].rows) > 5


def test_of_two_maps_only_the_entries_that_differ_are_shown_not_the_records_that_hold_them(tmp_path: Path):
    records = []
    for name, symmetry in (("a", None), ("b", 8)):
        made = write_map(tmp_path / f"{name}.tif", np.ones((20, 20), np.uint8))
        origin = {"scenes": [{"name": "s", "files": {"B01.tif": [1, "abc"]}}], "reading": {"symmetry": symmetry}}
        with rasterio.open(made.path, "r+") as file:
            file.update_tags(ORIGIN=json.dumps(origin), COMMAND=json.dumps(["bandloom", "predict", f"{name} 1.tif"]))
        records.append(read_record(made.path))
    [section] = sections(Compared(records, ("1: a", "2: b")))
    assert [list(row) for row in section.tables[0].rows] == [
        ["command", "bandloom predict 'a 1.tif'", "bandloom predict 'b 1.tif'"],
        ["origin.reading.symmetry", "null", "8"],
    ]
    same = [row[0] for row in section.folds[0].tables[0].rows]
    assert {"origin.scenes.1.name", "origin.scenes.1.files.B01.tif"} <= set(same)
