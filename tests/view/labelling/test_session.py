"""Answers are on disk as soon as they are given, whatever happens then."""

import pytest

from bandloom.errors import OutputError
from bandloom.files.points_file import read_points_file
from bandloom.view.class_map import MapClass
from bandloom.view.labelling.session import KEYS, Answer, Session

CLASSES = [MapClass(code, name, "#000000", 1, 1.0) for code, name in ((1, "water"), (2, "crop"), (4, "tree"))]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "points.csv").write_text("lon,lat,id,class\n1,2,7,crop\n3,4,8,\n5,6,9,4\n7,8,10,lava\n")
    return tmp_path / "points.csv"


def open_session(path) -> Session:
    return Session(read_points_file(path), CLASSES)


def test_a_session_goes_on_from_what_the_file_holds(path):
    session = open_session(path)
    assert [answer.name for answer in session.answers] == ["crop", None, "tree", None]
    session.give(1, Answer("water", True, "a pond, I think"))
    again = open_session(path)
    assert again.answers[1] == Answer("water", True, "a pond, I think")
    assert again.done == 3
    assert read_points_file(path).columns["id"] == ["7", "8", "9", "10"]


def test_undo_takes_back_the_last_answers_one_by_one_on_disk_too(path):
    session = open_session(path)
    session.give(0, Answer("tree"))
    session.give(3, Answer("tree"))
    assert [session.undo(), session.undo(), session.undo()] == [3, 0, None]
    assert [answer.name for answer in open_session(path).answers] == ["crop", None, "tree", None]


def test_what_another_program_wrote_is_not_overwritten(path):
    session = open_session(path)
    other = open_session(path)
    other.give(1, Answer("crop"))
    with pytest.raises(OutputError, match="was changed by another program"):
        session.give(3, Answer("tree"))
    assert session.answers[3].name is None
    assert [answer.name for answer in open_session(path).answers] == ["crop", "crop", "tree", None]


def test_an_answer_that_cannot_be_saved_is_not_taken(path, monkeypatch):
    session = open_session(path)

    def refuse(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(session.points, "write", refuse)
    with pytest.raises(OutputError, match="the disk is full"):
        session.give(1, Answer("crop"))
    assert session.answers[1].name is None
    assert session.undo() is None


def test_a_class_or_point_that_is_none_is_refused(path):
    session = open_session(path)
    for number, name in ((9, "crop"), (-1, "crop"), (0, "lava")):
        with pytest.raises(LookupError):
            session.give(number, Answer(name))


def test_no_class_has_a_key_that_means_something_else():
    assert not set("ubcz") & set(KEYS)
    assert len(set(KEYS)) == len(KEYS)


def test_cells_of_points_that_were_not_answered_stay_as_they_are(path):
    path.write_text("lon,lat,id,class,unsure\n1,2,7,2,no\n3,4,8,,\n5,6,9,4,yes\n7,8,10,lava,\n")
    session = open_session(path)
    assert session.unknown == ["lava"]
    assert [answer.unsure for answer in session.answers] == [False, False, True, False]
    session.give(1, Answer("water"))
    held = read_points_file(path).columns
    assert held["class"] == ["2", "water", "4", "lava"]
    assert [held["unsure"][number] or "" for number in (0, 2, 3)] == ["no", "yes", ""]
    session.give(3, Answer("crop"))
    session.undo()
    assert read_points_file(path).columns["class"] == ["2", "water", "4", "lava"]


def test_an_answer_of_another_window_is_not_overwritten(path):
    session = open_session(path)
    session.give(1, Answer("water"), believed=Answer(None))
    with pytest.raises(OutputError, match="point 2 was answered in another window meanwhile; reload this page"):
        session.give(1, Answer("crop"), believed=Answer(None))
    assert open_session(path).answers[1].name == "water"
