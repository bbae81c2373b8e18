"""Outputs appear whole or not at all: written under a temporary name beside the target, synced, then renamed."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bandloom.errors import OutputError


@contextlib.contextmanager
def new_output(path: Path, *, folder: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it there when the block ends well, remove it when it does not.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is False, its parent cannot be made, or the disk is full.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"the output {path} exists already; choose another name, or remove it first.")
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        if folder:
            temporary.mkdir()
        yield temporary
        sync(temporary)
        if overwrite:
            _remove(path)
        os.replace(temporary, path)
        sync_entry(path.parent)
    except OSError as cause:
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"the disk is full while writing {path}; free some space and run it again.") from cause
        if cause.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise OutputError(f"{path} cannot be written ({cause.strerror}); choose another place.") from cause
        raise
    finally:
        _remove(temporary)


def sync(path: Path) -> None:
    """Flush a file, or every file of a folder and the folder itself, to the disk."""
    if path.is_dir():
        for each in path.iterdir():
            sync(each)
    sync_entry(path)


def sync_entry(path: Path) -> None:
    """Flush a file, or a folder's own list of names (a rename in it, say), to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, record: Any) -> None:
    """Write ``record`` as indented JSON, atomically."""
    with new_output(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
