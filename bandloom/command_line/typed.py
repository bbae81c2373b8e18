"""The command as it was typed, for the records of what it makes: run folders, shards, bundles."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

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


def verb_of(command: Sequence[str]) -> str | None:
    """Return the verb of a command that was typed; None where it is none of this program's."""
    words = [word for word in command[1:] if not word.startswith("-")]
    return words[0] if words and Path(command[0]).name == PROGRAM else None


def verb_of_run(run: Path) -> str | None:
    """Return the verb that made a run folder, or None where it does not say."""
    try:
        return verb_of(json.loads((run / "environment.json").read_text())["command"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _without_secrets(word: str) -> str:
    if "://" not in word:
        return word
    return re.sub(r"\?.*$", "?...", re.sub(r"(?<=://)[^/@]*@", "...@", word))
