"""What generate refuses before a model or an image is looked at."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bandloom.errors import OutputError, TextError
from bandloom.finetune.captioner.checkpoint import SavedCaptioner
from bandloom.finetune.captioner.generate import _check_lengths, generate

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


def captioner(most_tokens: int = 8, **learnt: bool) -> SavedCaptioner:
    """Return what generate asks of a captioner before it opens an image."""
    model = SimpleNamespace(most_tokens=most_tokens, length_of=lambda prompt: len(prompt.split()))
    record = {"prompt": "Describe:", "question_prompt": "Q: {}"}
    return cast(SavedCaptioner, SimpleNamespace(model=model, record=record | ({"learnt": learnt} if learnt else {})))


def test_what_a_captioner_never_learnt_is_not_asked_of_it(tmp_path: Path):
    with pytest.raises(TextError, match="trained on captions alone and has never seen a question"):
        generate(captioner(captions=True, questions=False), tmp_path, tmp_path / "a.jsonl", question="wet?")
    with pytest.raises(TextError, match="trained on questions alone"):
        generate(captioner(captions=False, questions=True), tmp_path, tmp_path / "a.jsonl")


def test_a_prompt_that_would_be_cut_is_refused():
    _check_lengths(captioner(), ["Q: is it wet", "Q: a b c d e f g"])
    with pytest.raises(TextError, match=r"has 9 tokens, of which the captioner reads 8"):
        _check_lengths(captioner(), ["Q: is it wet", "Q: a b c d e f g h"])


def test_answers_that_are_there_are_kept(tmp_path: Path):
    (tmp_path / "answers.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        generate(UNUSED, tmp_path, tmp_path / "answers.jsonl")
    assert (tmp_path / "answers.jsonl").read_text() == "mine"
