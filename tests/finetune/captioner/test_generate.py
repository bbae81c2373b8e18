"""What generate refuses before a model or an image is looked at."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bandloom.errors import OutputError, TextError
from bandloom.finetune.captioner.checkpoint import SavedCaptioner
from bandloom.finetune.captioner.generate import generate

UNUSED = cast(SavedCaptioner, SimpleNamespace())


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"question": "wet?", "questions": Path("q.jsonl")}, "one of --question WORDS and --questions FILE"),
        ({"question": ""}, "--question is empty"),
        ({"question": " "}, "--question is empty"),
    ],
)
def test_questions_that_cannot_be_meant_are_a_sentence(tmp_path: Path, asked: dict[str, Any], sentence: str):
    with pytest.raises(TextError, match=sentence):
        generate(UNUSED, tmp_path, tmp_path / "answers.jsonl", **asked)


def test_answers_that_are_there_are_kept(tmp_path: Path):
    (tmp_path / "answers.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        generate(UNUSED, tmp_path, tmp_path / "answers.jsonl")
    assert (tmp_path / "answers.jsonl").read_text() == "mine"
