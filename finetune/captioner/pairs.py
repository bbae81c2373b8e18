"""Training pairs of a captioner: prompts and answers by sample, from captions and from questions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandloom.command_line.console import logger
from bandloom.draws.sample_draws import rng_of
from bandloom.errors import ConfigError, TextError
from bandloom.finetune.captioner.config import CaptionerConfig
from bandloom.finetune.data.split_choice import scene_of
from bandloom.finetune.text.captions.captions import make_captions
from bandloom.finetune.text.captions.directions import without_directions
from bandloom.shards.read.shard_set import ShardSet

PURPOSE_PAIRS = 202


@dataclass(frozen=True)
class Exchange:
    """One prompt with its answer; ``kind`` is ``caption`` or the question's type."""

    prompt: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Pairs:
    """Exchanges by sample key."""

    of_key: dict[str, list[Exchange]]

    def draw(self, key: str, draw: int | np.uint64) -> Exchange:
        """Return the exchange that a sample has in this epoch."""
        own = self.of_key[key]
        return own[int(rng_of(draw, PURPOSE_PAIRS).integers(len(own)))]


def make_pairs(config: CaptionerConfig, shards: ShardSet, indices: np.ndarray) -> Pairs:
    """Collect the exchanges of samples.

    Raises:
        BandloomError: neither captions nor questions are configured, or they cannot be used with these shards.
    """
    if config.captions is None and config.questions is None:
        raise ConfigError(
            "neither captions nor questions are given; add captions: {sources: [labels]}, or questions: FILE.jsonl."
        )
    keys = [shards.entries[int(i)].key for i in indices]
    exchanges: dict[str, list[Exchange]] = {}
    if config.captions is not None:
        captions = make_captions(config.captions, shards, indices, turned=config.augment)
        for key, numbers in captions.of_key.items():
            exchanges[key] = [Exchange(config.prompt, captions.texts[n], "caption") for n in numbers]
    if config.questions is not None:
        rows = read_questions(config.questions)
        for key, own in questions_of(rows, keys, config.questions).items():
            exchanges.setdefault(key, []).extend(_exchanges(own, config))
    return Pairs({key: own for key, own in exchanges.items() if own})


def read_questions(path: Path) -> list[dict[str, str]]:
    """Return the lines of a file in RSVQA's form: ``image``, ``question``, ``answer`` and, where it is said, ``type``.

    Raises:
        TextError: the file cannot be read, or a line lacks something.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise TextError(f"the questions {path} cannot be read ({cause}); expected UTF-8 JSON lines.") from cause
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(
                {name: _text(name, row[name]) for name in ("image", "question")}
                | {name: "" if row.get(name) is None else _text(name, row[name]) for name in ("answer", "type")}
            )
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise TextError(
                f"line {number} of {path} is no question ({cause!r}); it needs the keys image, question and answer,"
                " each a text or a number."
            ) from cause
        if not rows[-1]["question"]:
            raise TextError(f"line {number} of {path} has an empty question; write or remove it.")
    if not rows:
        raise TextError(f"{path} holds no question; write one JSON object a line.")
    return rows


def _text(name: str, value: object) -> str:
    """Return a text or number as text; a list, or true for yes, would be learnt as Python spells it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name} is {json.dumps(value)}")
    return str(value).strip()


def questions_of(
    rows: Sequence[Mapping[str, str]], keys: Sequence[str], path: Path
) -> dict[str, list[Mapping[str, str]]]:
    """Return questions by sample key: ``image`` is a sample's key, or a file whose name is its scene's.

    Questions about images that are not there are counted, and so are those whose image lies in several chips, each of
    which gets the question and the answer of all.

    Raises:
        TextError: no sample is asked about, or files of one name in several folders are.
    """
    by_name: dict[str, list[str]] = {}
    for key in keys:
        for name in {key, scene_of(key)}:
            by_name.setdefault(name, []).append(key)
    asked: dict[str, list[Mapping[str, str]]] = {}
    folders: dict[str, Path] = {}
    unknown, of_several = [], []
    for row in rows:
        image = Path(row["image"])
        own = by_name.get(row["image"]) or by_name.get(image.stem, [])
        if own and folders.setdefault(image.stem, image.parent) != image.parent:
            raise TextError(
                f"{path} asks about {image.stem!r} in {folders[image.stem]} and in {image.parent}, which the shards'"
                " keys do not tell apart; give the images names of their own."
            )
        for key in own:
            asked.setdefault(key, []).append(row)
        unknown += [] if own else [row["image"]]
        of_several += [row["image"]] if len(own) > 1 else []
    if not asked:
        raise TextError(
            f"none of the images in {path} (such as {rows[0]['image']!r}) is in the shards (their keys are"
            f" like {keys[0]!r}); build the shards from these images."
        )
    if unknown:
        what = "%d of %d questions are about images that are not among these chips, such as %s, and are left out"
        logger.warning(what, len(unknown), len(rows), unknown[0])
    if of_several:
        what = (
            "%d of %d questions are about images of several chips, such as %s: every chip gets the question and the"
            " answer of all; `shards build --side` keeps an image whole"
        )
        logger.warning(what, len(of_several), len(rows), of_several[0])
    return asked


def _exchanges(rows: Sequence[Mapping[str, str]], config: CaptionerConfig) -> list[Exchange]:
    if config.question_prompt.count("{}") != 1:
        raise ConfigError(f"question_prompt {config.question_prompt!r} must hold {{}} once, where the question goes.")
    kept = [row for row in rows if not config.augment or _turns(row)]
    if len(kept) < len(rows):
        logger.info("%d questions about directions are left out, since images are turned", len(rows) - len(kept))
    if any(not row["answer"] for row in kept):
        raise TextError(f"{config.questions} has questions without an answer; they can be asked, but not learnt from.")
    return [
        Exchange(config.question_prompt.replace("{}", row["question"]), row["answer"], row["type"] or "question")
        for row in kept
    ]


def _turns(row: Mapping[str, str]) -> bool:
    """Tell whether question and answer stay true in a mirror."""
    return all(without_directions(row[name]) == " ".join(row[name].split()) for name in ("question", "answer"))
