"""Files of one output get their names together, or none does."""

from pathlib import Path

import pytest

from bandloom.errors import OutputError
from bandloom.export.predict.publish import publish


def ready(folder: Path, *names: str) -> dict[Path, Path]:
    (folder / "work").mkdir()
    for name in names:
        (folder / "work" / name).write_text(name)
    return {folder / name: folder / "work" / name for name in names}


def test_all_are_there_afterwards(tmp_path: Path) -> None:
    publish(ready(tmp_path, "a.qml", "a.stac.json", "a.tif"))
    assert {path.name: path.read_text() for path in tmp_path.glob("a.*")} == {
        name: name for name in ("a.qml", "a.stac.json", "a.tif")
    }
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("taken", ["a.qml", "a.stac.json", "a.tif"])
@pytest.mark.parametrize("by", ["file", "folder", "link"])
def test_a_name_that_is_taken_takes_the_others_back(tmp_path: Path, taken: str, by: str) -> None:
    files = ready(tmp_path, "a.qml", "a.stac.json", "a.tif")
    theirs = tmp_path / taken
    theirs.mkdir() if by == "folder" else theirs.touch() if by == "file" else theirs.symlink_to("nowhere")
    with pytest.raises(OutputError, match=f"{taken} was written by another process meanwhile"):
        publish(files)
    assert [path.name for path in tmp_path.iterdir() if path.name != "work"] == [taken]
