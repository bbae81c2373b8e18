"""Error messages for vector files that cannot be read: what is wrong and what to do, in place of SQLite's words."""

from pathlib import Path

_LOCKED = ("database is locked", "database table is locked")
_DAMAGED = ("malformed", "not a database", "disk i/o error", "not recognized as being in a supported file format")


def why_unreadable(path: Path, cause: Exception) -> str:
    """Return why ``path`` cannot be read and what mends it, to stand behind its name, without a full stop."""
    said = " ".join(str(cause).split())
    if any(words in said for words in _LOCKED):
        return "is being written by another program, such as QGIS; save and close it there, and run this again"
    if any(words in said for words in _DAMAGED):
        if path.is_file() and not path.stat().st_size:
            return "is empty (0 bytes); fetch it again"
        return f"is damaged, cut off or of another kind than its ending says ({said[-80:]}); fetch or save it again"
    return f"cannot be read as vector data ({said}); open it in QGIS and save it again"
