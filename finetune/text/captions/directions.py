"""Directions in captions (left, north), which turning an image makes wrong: found and taken out."""

import re

_SIDE = r"(?:north|south|east|west)(?:[- ]?(?:east|west))?(?:ern)?|upper|lower|top|bottom|left|right"
_PLACE = r"(?:side|part|half|corner|edge|end|quarter|third|area|section|portion)"
_WHOLE = r"(?:image|picture|scene|photo|tile|frame|map)"
_SIDES = rf"(?:{_SIDE})(?:[- ](?:and )?(?:{_SIDE}))*(?:[- ]hand)?"
# "in the upper left corner of the image", "to the north of", "on the right"
_PHRASE = re.compile(
    rf"\b(?:in|on|at|to|from|along|near|towards?|across)\s+(?:the\s+|its\s+)?{_SIDES}"
    rf"(?:\s+{_PLACE}s?)?(?:\s+of(?:\s+the\s+{_WHOLE})?)?\b",
    re.IGNORECASE,
)
# what still holds a direction after that loses the word: "a northern road"
_WORD = re.compile(rf"\b(?:{_SIDES})\b", re.IGNORECASE)
# a place on Earth does not turn with the image
_KEPT = re.compile(
    r"\d\s*(?:°|degrees)\s*(?:north|south|east|west)|right angles?|(?:north|south)ern hemisphere|"
    r"(?:north|south|east|west)(?:ern)? (?:america|africa|europe|asia|pole|sea)",
    re.IGNORECASE,
)


def without_directions(caption: str) -> str:
    """Return a caption without the words that say where in the image something lies."""
    kept: list[str] = []

    def hide(match: re.Match[str]) -> str:
        kept.append(match.group())
        return f"\0{len(kept) - 1}\0"

    text = _WORD.sub("", _PHRASE.sub("", _KEPT.sub(hide, caption)))
    text = re.sub("\0(\\d+)\0", lambda match: kept[int(match.group(1))], text)
    text = re.sub(r"\s+([,.;])", r"\1", " ".join(text.split()))
    return re.sub(r"^[,;.\s]+|[,;\s]+$|(?<=[,;])[,;]+", "", re.sub(r"([,;])(?:\s*[,;])+", r"\1", text))
