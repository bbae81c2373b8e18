"""Operating-system errors (full disk, read-only, no permission) behind library errors that name no error number."""

import errno
import os
import shutil
from pathlib import Path

FULL_BELOW_BYTES = 1 << 20  # where a library gives no reason, this little room left is it
# as the C library, SQLite and Rust's standard library say it
_WORDS = {
    errno.ENOSPC: ("no space left", "disk is full", "disk full", "os error 28", "errno 28"),
    errno.EDQUOT: ("quota exceeded", "os error 122", "errno 122"),
    errno.EROFS: ("read-only file system", "os error 30", "errno 30"),
    errno.EFBIG: ("file too large", "os error 27", "errno 27"),
    errno.EACCES: ("permission denied", "os error 13", "errno 13"),
}


def refusal_in(cause: BaseException) -> OSError | None:
    """Return the operating system's own error that an error stems from, by its number or by its words; else None."""
    known: BaseException | None = cause
    while known is not None:
        if isinstance(known, OSError) and known.errno is not None:
            return known if known.errno in _WORDS else None
        said = str(known).casefold()
        for number, words in _WORDS.items():
            if any(word in said for word in words):
                return OSError(number, os.strerror(number))
        known = known.__cause__
    return None


def refusal_at(path: Path, cause: BaseException) -> OSError | None:
    """Return why the operating system let a library down that was writing ``path``; None where neither its words tell
    nor the place.
    """
    told = refusal_in(cause)
    if told is not None:
        return told
    place = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    if not os.access(place, os.W_OK):
        number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
    elif shutil.disk_usage(place).free < FULL_BELOW_BYTES:
        number = errno.ENOSPC
    else:
        return None
    return OSError(number, os.strerror(number))
