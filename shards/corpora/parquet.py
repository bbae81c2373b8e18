"""pyarrow's Parquet, imported when a corpus first needs it."""

from typing import Any

from bandloom.errors import MissingExtraError

# What pyarrow raises on damaged bytes; its own errors derive from these
BROKEN = (OSError, ValueError, KeyError, TypeError, IndexError, NotImplementedError, MemoryError, RuntimeError)


def parquet() -> Any:
    """Return the module ``pyarrow.parquet``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as cause:
        raise MissingExtraError("pyarrow", "parquet") from cause
    return pq
