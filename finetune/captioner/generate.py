"""``bandloom caption generate``: captions of chips, or answers to questions about them, as JSON lines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.command_line.console import console, logger
from bandloom.errors import TextError
from bandloom.files.output import new_output, one_writer
from bandloom.finetune.captioner.checkpoint import SavedCaptioner
from bandloom.finetune.captioner.pairs import questions_of, read_questions
from bandloom.finetune.text.search.images import Image, images_of

BATCH, SHOWN = 16, 5


@one_writer
def generate(
    captioner: SavedCaptioner,
    source: Path,
    out: Path,
    question: str | None = None,
    questions: Path | None = None,
    most_new: int | None = None,
) -> int:
    """Write one line an image and prompt, with ``image``, ``question`` (of questions) and ``answer``; returns how many.

    Args:
        captioner: the model.
        source: shards, a scene, or a folder of scenes.
        out: the new file of JSON lines.
        question: asked of every chip; None: captions.
        questions: a file in RSVQA's form, each asked of its own image.
        most_new: tokens of an answer at most.

    Raises:
        TextError: both kinds of questions are given, or an empty one, or one that the model would not see to its end,
            or the model was never shown what is asked for, or the source holds no chip of its sensor.
        OutputError: ``out`` exists.
    """
    if question is not None and questions is not None:
        raise TextError("ask with one of --question WORDS and --questions FILE.")
    if question is not None and not question.strip():
        raise TextError("--question is empty; write what to ask, or leave it out for captions.")
    model, record = captioner.model, captioner.record
    _check_learnt(record, asks=question is not None or questions is not None)
    rows = None if questions is None else read_questions(questions)
    images = list(images_of(captioner, source))
    if not images:
        raise TextError(f"{source} holds no chip of {model.sensor.name}; pass shards or scenes of that sensor.")
    if rows is not None:
        own = questions_of(rows, [image.key for image in images], Path(str(questions)))
        asked = [(image, row["question"]) for image in images for row in own.get(image.key, [])]
    else:
        asked = [(image, question or "") for image in images]
    prompts = [
        record["question_prompt"].replace("{}", question) if question else record["prompt"] for _, question in asked
    ]
    _check_lengths(captioner, prompts)
    answers = _answers(captioner, [image for image, _ in asked], prompts, most_new)
    with new_output(out) as temporary, temporary.open("w") as file:
        for (image, each), answer in zip(asked, answers, strict=True):
            said = {"image": image.key} | ({"question": each} if each else {}) | {"answer": answer}
            file.write(json.dumps(said, ensure_ascii=False) + "\n")
    for (image, _), answer in list(zip(asked, answers, strict=True))[:SHOWN]:
        console.print(f"{image.key}: {answer}", markup=False)
    logger.info("%d answers are in %s", len(answers), out)
    return len(answers)


def _check_learnt(record: Mapping[str, Any], *, asks: bool) -> None:
    """Refuse to ask what was trained on captions alone, and the other way round."""
    learnt = record.get("learnt", {"captions": True, "questions": True})  # earlier checkpoints do not say
    if asks and not learnt["questions"]:
        raise TextError(
            "this captioner was trained on captions alone and has never seen a question; leave --question out, or train"
            " one with questions=FILE."
        )
    if not asks and not learnt["captions"]:
        raise TextError(
            "this captioner was trained on questions alone and has never seen a caption; ask with --question WORDS."
        )


def _check_lengths(captioner: SavedCaptioner, prompts: Sequence[str]) -> None:
    """Refuse prompts that the model would not see to their end: a question without its end is another question."""
    most = captioner.model.most_tokens
    longest = max(dict.fromkeys(prompts), key=captioner.model.length_of, default="")
    if (length := captioner.model.length_of(longest)) > most:
        shown = longest if len(longest) <= 60 else f"{longest[:60]}..."
        raise TextError(f"the prompt {shown!r} has {length} tokens, of which the captioner reads {most}; shorten it.")


def _answers(captioner: SavedCaptioner, images: Sequence[Image], prompts: Sequence[str], most: int | None) -> list[str]:
    """Ask each prompt of all its images together: one length, no padding."""
    answers = [""] * len(images)
    device = next(captioner.model.project.parameters()).device
    for prompt in dict.fromkeys(prompts):
        rows = [row for row, other in enumerate(prompts) if other == prompt]
        for first in range(0, len(rows), BATCH):
            asked = rows[first : first + BATCH]
            chips = [images[row].groups for row in asked]
            groups = {gsd: torch.from_numpy(np.stack([chip[gsd] for chip in chips])).to(device) for gsd in chips[0]}
            for row, answer in zip(asked, captioner.model.generate(groups, prompt, most), strict=True):
                answers[row] = answer
    return answers
