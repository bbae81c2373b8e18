"""Label sets that cannot be used give the list of what is wrong, exit code 2, and leave nothing half written."""

import json
from pathlib import Path

import pytest

from bandloom.cli import main
from tests.finetune.labels.malformed import CASES, SAMPLE, Good

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(name="good")
def good_material(tmp_path, scenes_folder, chips_folder) -> Good:
    scene = sorted((scenes_folder / "scenes").iterdir())[0]
    folder = tmp_path / "spoilt"
    folder.mkdir()
    mask = scenes_folder / "labels" / f"{scene.name}.tif"
    return Good(scene, mask, chips_folder / "chips", scenes_folder / "label_set.yaml", folder)


def run(words: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(["labels", *words])
    return int(end.value.code or 0)


def check(name: str, good: Good, out: Path, capsys) -> None:
    words = CASES[name](good)
    before = sorted(map(str, good.folder.rglob("*")))
    assert run(["check", *words, "--report", "json"]) == 2, name
    said = capsys.readouterr()
    if said.out:
        problems = [problem for problem in json.loads(said.out)["problems"] if problem["severity"] == "error"]
        assert problems, name
        assert all(problem["where"] and problem["what"].strip() for problem in problems)
        assert not said.err
    else:
        assert said.err.startswith("error: "), name
        assert said.err.count("\n") == 1, said.err
    assert run(["prepare", *words, "--out", str(out)]) == 2, name
    said = capsys.readouterr()
    assert said.err.startswith("error: "), said.err
    assert "Traceback" not in said.err
    assert sorted(path.name for path in out.parent.iterdir()) == ["spoilt"], name
    assert sorted(map(str, good.folder.rglob("*"))) == before


@pytest.mark.parametrize("name", SAMPLE)
def test_a_label_set_that_cannot_be_used_is_listed_and_nothing_is_written(name, good, tmp_path, capsys):
    check(name, good, tmp_path / "out", capsys)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", sorted(set(CASES) - set(SAMPLE)))
def test_none_of_a_hundred_slips_through(name, good, tmp_path, capsys):
    check(name, good, tmp_path / "out", capsys)


def test_there_are_a_hundred_of_them():
    assert len(CASES) >= 100


@pytest.mark.parametrize("form", ["mask", "folders"])
def test_the_good_material_is_good(form, good, capsys):
    words = good.words("mask", good.scene, good.mask) if form == "mask" else good.words("folders", good.chips)
    assert run(["check", *words]) == 0, capsys.readouterr().out
