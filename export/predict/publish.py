"""Publishing of finished files: all get their final names together, the main one last, or none of them does."""

from collections.abc import Mapping
from pathlib import Path

from bandloom.files.output import move_new, sync, sync_entry, write_errors


def publish(ready: Mapping[Path, Path]) -> None:
    """Move finished files to their final names, in order; what was moved is taken back when one of them cannot be.

    Args:
        ready: where each file lies now, by its final name; the last one tells that all are there.

    Raises:
        OutputError: a name is taken, or cannot be written.
    """
    named: list[Path] = []
    try:
        for final, source in ready.items():
            with write_errors(final, source):
                sync(source)
                move_new(source, final)
            named.append(final)
        for folder in {final.parent for final in ready}:
            sync_entry(folder)
    except Exception:
        for name in named:
            name.unlink(missing_ok=True)
        raise
