import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from bandloom.errors import ConfigError, TextError
from bandloom.finetune.captioner.config import CaptionerConfig
from bandloom.finetune.captioner.pairs import Exchange, Pairs, make_pairs, questions_of, read_questions


@pytest.fixture(name="file")
def of_questions(tmp_path):
    def write(*rows):
        path = tmp_path / "questions.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


def config(path, **changes) -> CaptionerConfig:
    return CaptionerConfig.model_validate(
        {"shards": "x", "language": {"model": "m"}, "questions": str(path) if path else None, **changes}
    )


def shards(*keys: str):
    return SimpleNamespace(entries=[SimpleNamespace(key=key) for key in keys])


def test_lines_are_read_as_text_with_what_is_not_said_left_empty(file):
    path = file({"image": "a", "question": " how many? ", "answer": 2}, "", {"image": 7, "question": "q", "type": "t"})
    assert read_questions(path) == [
        {"image": "a", "question": "how many?", "answer": "2", "type": ""},
        {"image": "7", "question": "q", "answer": "", "type": "t"},
    ]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"image": "a"}, "line 1 of .* is no question"),
        ("{", "line 1 of .* is no question"),
        ("[1]", "line 1 of .* is no question"),
        ({"image": "a", "question": "wet?", "answer": True}, "line 1 of .* is no question .*answer is true"),
        ({"image": "a", "question": "what?", "answer": ["sea"]}, "line 1 of .* is no question .*answer is "),
        ({"image": None, "question": "wet?"}, "line 1 of .* is no question .*image is null"),
        ({"image": "a", "question": " "}, "line 1 of .* has an empty question"),
        ("", "holds no question"),
    ],
)
def test_a_line_that_is_no_question_is_a_sentence(file, row, sentence):
    with pytest.raises(TextError, match=sentence):
        read_questions(file(row))


def test_an_image_is_a_samples_key_or_a_file_of_its_name_or_its_scenes(file):
    rows = [{"image": "one"}, {"image": "images/two.tif"}, {"image": "gone"}]
    found = questions_of(rows, ["one", "two"], file())
    assert found == {"one": [rows[0]], "two": [rows[1]]}
    with pytest.raises(TextError, match=r"none of the images in .* \(such as 'gone'\).*keys are like 'one'"):
        questions_of(rows[2:], ["one"], file())


def test_an_answer_that_is_null_is_no_answer(file):
    path = file({"image": "a", "question": "wet?", "answer": None, "type": None})
    assert read_questions(path) == [{"image": "a", "question": "wet?", "answer": "", "type": ""}]


def test_files_of_one_name_in_several_folders_are_refused(file):
    rows = [{"image": "east/1.tif"}, {"image": "west/1.tif"}]
    with pytest.raises(TextError, match="asks about '1' in east and in west"):
        questions_of(rows, ["1"], file())
    assert list(questions_of(rows[:1] * 2, ["1"], file())) == ["1"]


def test_questions_about_other_images_and_about_images_of_several_chips_are_counted(file, caplog):
    rows = [{"image": "gone"}, {"image": "one.tif"}, {"image": "two"}]
    keys = ["one_r0000_c0000", "one_r0000_c0001", "two"]
    with caplog.at_level(logging.WARNING):
        found = questions_of(rows, keys, file())
    assert found == {keys[0]: [rows[1]], keys[1]: [rows[1]], "two": [rows[2]]}
    assert "1 of 3 questions are about images that are not among these chips, such as gone" in caplog.text
    assert "1 of 3 questions are about images of several chips, such as one.tif" in caplog.text


def test_a_question_becomes_a_prompt_with_its_answer_and_type(file):
    path = file(
        {"image": "a", "question": "rural?", "answer": "yes", "type": "area"},
        {"image": "a", "question": "wet?", "answer": "no"},
    )
    pairs = make_pairs(config(path), shards("a", "b"), np.arange(2))
    assert pairs.of_key == {
        "a": [
            Exchange("Question: rural? Answer:", "yes", "area"),
            Exchange("Question: wet? Answer:", "no", "question"),
        ]
    }


def test_questions_about_directions_go_where_images_are_turned(file, caplog):
    path = file(
        {"image": "a", "question": "what lies in the north?", "answer": "a lake"},
        {"image": "a", "question": "wet?", "answer": "no"},
    )
    with caplog.at_level(logging.INFO):
        pairs = make_pairs(config(path, augment=True), shards("a"), np.arange(1))
    assert [pair.answer for pair in pairs.of_key["a"]] == ["no"]
    assert "1 questions about directions are left out" in caplog.text


def test_what_cannot_be_learnt_from_is_a_sentence(file):
    path = file({"image": "a", "question": "wet?"})
    with pytest.raises(TextError, match="questions without an answer"):
        make_pairs(config(path), shards("a"), np.arange(1))
    with pytest.raises(ConfigError, match=r"must hold \{\} once"):
        make_pairs(config(path, question_prompt="?"), shards("a"), np.arange(1))
    with pytest.raises(ConfigError, match="neither captions nor questions are given"):
        make_pairs(config(None), shards("a"), np.arange(1))


def test_a_draw_is_the_samples_own_and_meets_every_exchange():
    pairs = Pairs({"a": [Exchange("p", str(n), "k") for n in range(3)]})
    drawn = [pairs.draw("a", draw).answer for draw in range(60)]
    assert drawn == [pairs.draw("a", draw).answer for draw in range(60)]
    assert set(drawn) == {"0", "1", "2"}
