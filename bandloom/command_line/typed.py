"""The command as it was typed, for the records of what it makes: run folders, shards, bundles."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

PROGRAM = "bandloom"
_WORDS: ContextVar[tuple[str, ...]] = ContextVar("bandloom_typed", default=())


@contextmanager
def typed(words: Sequence[str]) -> Iterator[None]:
    """Remember the words after the program's name while their verb runs."""
    token = _WORDS.set((PROGRAM, *words))
    try:
        yield
    finally:
        _WORDS.reset(token)


def typed_command() -> list[str]:
    """Return the command that runs, word by word, the program's name first; empty where Python code called.

    Names, passwords and signatures in addresses are left out: what keeps the command is passed on.
    """
    return [_without_secrets(word) for word in _WORDS.get()]


def _without_secrets(word: str) -> str:
    if "://" not in word:
        return word
    return re.sub(r"\?.*$", "?...", re.sub(r"(?<=://)[^/@]*@", "...@", word))
