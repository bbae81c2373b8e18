from pathlib import Path

import yaml

from bandloom.view.comparison import sections_of
from bandloom.view.comparison.compared import compared_of
from bandloom.view.records import read_record
from tests.view.comparison.made_run import counts, make_run


def pretraining(folder: Path):
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"objective": "mae"}))
    return read_record(folder)


def test_runs_of_one_kind_and_task_are_one_group(tmp_path: Path):
    runs = [make_run(tmp_path / name, counts(i)) for i, name in enumerate("abc")]
    groups, apart = compared_of(runs)
    assert [list(group.names) for group in groups] == [["1: a", "2: b", "3: c"]]
    assert apart == []


def test_what_is_of_another_kind_or_task_is_named_and_compared_with_nothing(tmp_path: Path):
    runs = [
        make_run(tmp_path / "a", counts(0)),
        pretraining(tmp_path / "p"),
        make_run(tmp_path / "b", counts(1)),
        make_run(tmp_path / "c", counts(1), task="classify"),
    ]
    groups, [said] = compared_of(runs)
    assert [list(group.names) for group in groups] == [["1: a", "3: b"]]
    assert said == (
        "Compared: 1: a with 3: b. Compared with nothing, and folded below by itself: 2: p is of kind pretraining, 4: c"
        " is of kind fine-tuning, task classify."
    )


def test_two_of_different_kinds_are_not_mixed(tmp_path: Path):
    [section] = sections_of([make_run(tmp_path / "a", counts(0)), pretraining(tmp_path / "p")])
    assert section.items == [
        "Nothing is compared: 1: a is of kind fine-tuning, task segment, 2: p is of kind pretraining. Each is folded"
        " below by itself."
    ]


def test_two_kinds_of_two_each_are_compared_by_themselves(tmp_path: Path):
    runs = [pretraining(tmp_path / "p"), make_run(tmp_path / "a", counts(0))]
    runs += [pretraining(tmp_path / "q"), make_run(tmp_path / "b", counts(1))]
    groups, [said] = compared_of(runs)
    assert [list(group.names) for group in groups] == [["1: p", "3: q"], ["2: a", "4: b"]]
    assert said == "Compared: 1: p with 3: q, 2: a with 4: b."
