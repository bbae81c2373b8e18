"""Errors of the operating system (OSError) as one sentence each, where no verb has said them in words of its own."""

import errno
import os

_WRITING = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG)
_CLOSED = (errno.EACCES, errno.EPERM)
_OF_PATHS = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.ESTALE, errno.ENOENT)


def sentence_of(error: OSError) -> str | None:
    """Return what is wrong and what to do; None of an error that is not about files, such as a connection's."""
    from bandloom.files.output import file_of, output_error

    why = error.strerror or " ".join(str(error).split())
    if error.errno == errno.EMFILE:
        return f"too many files are open ({why}); raise that limit (ulimit -n)."
    if type(error).__module__ == "rasterio.errors":  # GDAL's words, with no number
        return f"a raster cannot be read or written ({why}); check the file, and the room on its disk."
    path = file_of(error)
    if path is None:
        named = error.errno in (*_WRITING, errno.EIO, errno.ESTALE)
        return f"a file cannot be read or written ({why}); check the disk and the room on it." if named else None
    if error.errno in _WRITING:
        return str(output_error(path, error))
    if error.errno in _CLOSED:
        if os.path.lexists(path) and not os.access(path, os.R_OK):
            return f"{path} cannot be read ({why}); change who may read it, or name another."
        return str(output_error(path, error))
    if error.errno in _OF_PATHS:
        return f"{path} cannot be used ({why}); check the name, and the disk that it lies on."
    return None
