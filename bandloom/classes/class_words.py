"""Finds the class that a word or a number of a labels file means; what could mean two classes is refused."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.errors import LabelError, nearest

_WHOLE = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_])[\s_\-/,&.;:'\u2019]+(?=[^\W\d_])")
_BESIDE_A_LETTER = re.compile(r"(?<=[^\W\d_])[\s_]+(?=\w)|(?<=\w)[\s_]+(?=[^\W\d_])")
_MOST_DIGITS = 15  # a whole number that a float64 holds exactly


@dataclass(frozen=True)
class Words:
    """Everything that one class is called: its raster code, its name, its id in the source, and synonyms."""

    code: int
    name: str
    id: str
    synonyms: tuple[str, ...] = ()


class ClassWords:
    """The one look-up of classes, for rasters, polygons, points, tables and folders alike.

    Numbers are compared as numbers: 1, 1.0, ``"1"``, ``"1.0"`` and ``"01"`` are one code. Words are compared after
    Unicode NFC and case folding, with blanks and joining signs between letters left out (``annual-crop`` is
    ``Annual crop``); every other sign counts, so ``C+`` is never ``C-`` and -1 never 1.
    """

    def __init__(self, label_set: str, classes: Sequence[Words], ignore: Sequence[int]) -> None:
        """Gather the words of all classes.

        Raises:
            LabelError: one word or number would mean two classes, or a class and "no label".
        """
        self._label_set, self._names = label_set, [land_class.name for land_class in classes]
        self.numbers: dict[int, int] = {}
        self._words: dict[str, int] = {}
        self._spellings: dict[str, set[int]] = {}
        for index, land_class in enumerate(classes):
            self._add_number(land_class.code, index, f"the code {land_class.code}")
        for code in ignore:
            self._add_number(code, IGNORE_INDEX, f"the ignored code {code}")
        for index, land_class in enumerate(classes):
            for kind, word in (
                ("name", land_class.name),
                ("id", land_class.id),
                *(("synonym", synonym) for synonym in land_class.synonyms),
            ):
                self._add_word(word, index, f"the {kind} {word!r}")
        self.numbers.setdefault(IGNORE_INDEX, IGNORE_INDEX)

    def find(self, value: Any) -> int:
        """Return the index of the class that a value means, or 255 for a code that means "no label".

        Args:
            value: a word or a number, as a file holds it; a number without a fraction may come as a float or as text.

        Raises:
            LabelError: it is empty, or no class is meant; the nearest name is offered.
        """
        if _is_empty(value):
            raise LabelError("has no class: the value is empty; fill it in, or leave it out of the file.")
        if not isinstance(value, str | int | float | np.number | np.bool_ | bool):
            raise LabelError(f"has the class {value!r}; expected a word or a number.")
        number = whole_number(value)
        if number is not None and number in self.numbers:
            return self.numbers[number]
        matches = {self._words[key]} if (key := _strict(str(value))) in self._words else None
        matches = matches or self._spellings.get(_loose(str(value)), set())
        if number is None and len(matches) == 1:
            return next(iter(matches))
        raise LabelError(self._refusal(value, matches))

    def _refusal(self, value: Any, matches: set[int]) -> str:
        shown = value.item() if isinstance(value, np.generic) else value
        if len(matches) > 1:
            both = " and ".join(repr(self._names[index]) for index in sorted(matches))
            return f"{shown!r} could be {both} of label set {self._label_set!r}; spell it as one of them."
        return (
            f"{shown!r} is no class of label set {self._label_set!r} ({', '.join(self._names)}); rename it, add it to"
            f" the label set, or list its code under ignore.{nearest(str(shown), self._names)}"
        )

    def _add_number(self, number: int, index: int, what: str) -> None:
        if self.numbers.setdefault(number, index) != index:
            raise LabelError(
                f"label set {self._label_set!r}: {what} of {self._called(index)} is also a code or id of"
                f" {self._called(self.numbers[number])}, so the number {number} would mean both; change one of them."
            )

    def _add_word(self, word: str, index: int, what: str) -> None:
        number = whole_number(word)
        if number is not None:
            self._add_number(number, index, what)
            return
        if self._words.setdefault(_strict(word), index) != index:
            raise LabelError(
                f"label set {self._label_set!r}: {what} of {self._called(index)} is also a word for"
                f" {self._called(self._words[_strict(word)])}; rename one of them."
            )
        self._spellings.setdefault(_loose(word), set()).add(index)

    def _called(self, index: int) -> str:
        return "no label" if index == IGNORE_INDEX else f"class {self._names[index]!r}"


def whole_number(value: Any) -> int | None:
    """Return the whole number that a value is or spells, or None for words, fractions and what is not finite."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, str):
        spelled = _WHOLE.fullmatch(value.strip())
        return int(spelled[1]) if spelled and len(spelled[1]) <= _MOST_DIGITS else None
    number = float(value)
    return int(number) if math.isfinite(number) and number == int(number) and abs(number) < 10**_MOST_DIGITS else None


def _is_empty(value: Any) -> bool:
    missing = value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))
    return missing or (isinstance(value, str) and not value.strip())


def _strict(text: str) -> str:
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())


def _loose(text: str) -> str:
    return _BESIDE_A_LETTER.sub("", _BETWEEN_LETTERS.sub("", _strict(text)))
