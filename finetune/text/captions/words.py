"""Class names as words: spellings, synonyms, and the sentence templates that they are put in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.classes.taxonomy import Taxonomy, get_taxonomy, shipped
from bandloom.command_line.console import logger
from bandloom.errors import TextError

# in the manner of CLIP's prompts (Radford et al. 2021, appendix A), for images from above
TEMPLATES = (
    "{}",
    "a satellite image of {}",
    "a satellite photo of {}",
    "an aerial view of {}",
    "{} seen from space",
    "a multispectral image showing {}",
    "land covered by {}",
    "an overhead picture of {}",
)


@dataclass(frozen=True)
class ClassWords:
    """A class and what it is called.

    Args:
        name: as the label set spells it.
        seen: words to train with, the readable name first.
        unseen: words kept from training, to ask with afterwards.
    """

    name: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...] = ()


def class_words(label_set: LabelSet, source: str | None = None, keep_back: int = 0) -> tuple[ClassWords, ...]:
    """Return the words of every class of a label set, in its order.

    Args:
        label_set: whose classes.
        source: a shipped label set's name or a YAML file with ``synonyms``; None: the shipped one of the same name, or
            the names alone.
        keep_back: the last so many synonyms of each class are unseen; a class keeps two words to train with.

    Raises:
        LabelError: ``source`` is not known, or lacks a class.
    """
    taxonomy = get_taxonomy(source) if source else _of_same_name(label_set)
    by_class = []
    for land_class in label_set.classes:
        synonyms = taxonomy.classes[taxonomy.find(land_class.name)].synonyms if taxonomy else ()
        words = tuple(dict.fromkeys([readable(land_class.name), *synonyms]))
        kept = max(0, min(keep_back, len(words) - 2))
        by_class.append(ClassWords(land_class.name, words[: len(words) - kept], words[len(words) - kept :]))
    return tuple(by_class)


def readable(name: str) -> str:
    """Return a class name as a person would write it: ``AnnualCrop`` is "annual crop", ``built_up`` "built up"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_/]+", " ", name))
    return " ".join(spaced.split()).lower()


def sentences(words: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Return every word in every template.

    Raises:
        TextError: a template has no place for the word.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise TextError(f"the template {template!r} must hold {{}} once, where the word goes.")
    return [template.replace("{}", word) for word in words for template in templates]


def names_classes(texts: Sequence[str], words: Sequence[ClassWords]) -> np.ndarray:
    """Return whether each text holds a word of each class, ``(N, K)``; whole words, singular or plural."""
    patterns = [
        re.compile("|".join(rf"\b{_stem(word)}(?:e?s)?\b" for word in (*word.seen, *word.unseen)), re.I)
        for word in words
    ]
    known = {text: [bool(pattern.search(text)) for pattern in patterns] for text in set(texts)}
    return np.array([known[text] for text in texts], bool).reshape(len(texts), len(words))


def told_words(words: Sequence[ClassWords], captions: Sequence[str]) -> tuple[ClassWords, ...]:
    """Return words of which those that captions hold count as seen: a user's own may speak of what was kept back."""
    unseen = [word for land_class in words for word in land_class.unseen]
    holds = names_classes(captions, [ClassWords(word, (word,)) for word in unseen])  # (N, words)
    told = {word for word, is_held in zip(unseen, np.any(holds, axis=0).tolist(), strict=True) if is_held}
    if told:
        logger.warning(
            "the captions hold %d of %d words that were kept back, such as %r; they count as seen",
            len(told),
            len(unseen),
            min(told),
        )
    return tuple(
        ClassWords(
            land_class.name,
            (*land_class.seen, *(word for word in land_class.unseen if word in told)),
            tuple(word for word in land_class.unseen if word not in told),
        )
        for land_class in words
    )


def _stem(word: str) -> str:
    return re.escape(word[:-1] if word.endswith("s") and len(word) > 4 else word)


def _of_same_name(label_set: LabelSet) -> Taxonomy | None:
    own = files("bandloom.finetune.text") / "words" / f"{label_set.name}.yaml"
    if own.is_file():
        with as_file(own) as path:
            taxonomy = get_taxonomy(str(path))
    elif label_set.name in shipped():
        taxonomy = get_taxonomy(label_set.name)
    else:
        return None
    names = {land_class.name for land_class in taxonomy.classes}
    return taxonomy if all(land_class.name in names for land_class in label_set.classes) else None
