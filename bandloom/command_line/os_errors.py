"""What the operating system refuses, in one sentence, where no verb has said it in words of its own."""

import errno
import os
from pathlib import Path

_WRITING = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG)
_CLOSED = (errno.EACCES, errno.EPERM)
_OF_PATHS = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.ESTALE, errno.ENOENT)


def sentence_of(error: OSError) -> str | None:
    """Return what is wrong and what to do; None of an error that is not about a file, or that says no file."""
    from bandloom.files.output import output_error

    if not isinstance(error.filename, str | bytes | os.PathLike):
        return "the disk is full; free some space and run it again." if error.errno in _WRITING[1:3] else None
    path, why = Path(os.fsdecode(error.filename)), error.strerror or str(error)
    if error.errno in _WRITING:
        return str(output_error(path, error))
    if error.errno in _CLOSED:
        if os.path.lexists(path) and not os.access(path, os.R_OK):
            return f"{path} cannot be read ({why}); change who may read it, or name another."
        return str(output_error(path, error))
    if error.errno in _OF_PATHS:
        return f"{path} cannot be used ({why}); check the name, and the disk that it lies on."
    return None
