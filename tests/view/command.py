"""The command line, as a test types it."""

import pytest

from bandloom.cli import main


def run(*words: object) -> int | str | None:
    """Return the exit code of a command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code
