"""Atomic outputs: written under a temporary name beside the target, synced, then renamed."""

import contextlib
import errno
import functools
import inspect
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from bandloom.command_line.console import logger
from bandloom.errors import BandloomError, OutputError
from bandloom.files.library_errors import refusal_in
from bandloom.files.output_lock import is_ours, lock_of, locked

P = ParamSpec("P")
R = TypeVar("R")
LONGEST_NAME = 255  # bytes, where a file system does not say
HIDDEN_NAME = 24  # what temporary names add to a name, in bytes
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
_CLOSED = (errno.EACCES, errno.EPERM)
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTEMPTY)


@contextlib.contextmanager
def new_output(path: Path, *, folder: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it there when the block ends well, remove it when it does not.

    What another process put there meanwhile is not replaced, unless ``overwrite``.

    Raises:
        BusyOutputError: another process is writing ``path``, and ``overwrite`` is False.
        OutputError: ``path`` exists and ``overwrite`` is False, or it cannot be written: the disk is full, the name
            too long, the place closed to writing.
    """
    if not overwrite:
        require_absent([path])
    shared = overwrite or is_ours(path)
    with contextlib.nullcontext() if shared else sole_writer(path), _renamed(path, folder, overwrite) as made:
        yield made


@contextlib.contextmanager
def sole_writer(path: Path, tidy: Callable[[], None] | None = None) -> Iterator[None]:
    """Be the only process that writes ``path``, which is not there yet, as long as the block runs.

    What takes long before it writes opens this first, so that a second command is refused at once and not at the end.

    Args:
        path: the output.
        tidy: called when nobody else writes it, before its absence is asked for.

    Raises:
        BusyOutputError: another process is writing it.
        OutputError: ``path`` exists, or its folder cannot be written.
    """
    if tidy is None:
        require_absent([path])
    with contextlib.ExitStack() as stack:
        with write_errors(path, lock_of(path)):
            stack.enter_context(_folder_for(path))
            stack.enter_context(locked(path))
        if tidy is not None:
            tidy()
        require_absent([path])  # the process that wrote it may have ended meanwhile
        yield


def one_writer(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function the only writer of its argument ``out``, from its first line on: see :func:`sole_writer`."""
    names = inspect.signature(function)

    @functools.wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        with sole_writer(names.bind(*args, **kwargs).arguments["out"]):
            return function(*args, **kwargs)

    return alone


@contextlib.contextmanager
def _folder_for(path: Path) -> Iterator[None]:
    """Make the folders above ``path``; those that are empty at the end, as what was asked for was refused, go again."""
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def _renamed(path: Path, folder: bool, overwrite: bool) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(3)}")
    try:
        with write_errors(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            if folder:
                temporary.mkdir()
            yield temporary
            sync(temporary)
            if overwrite:
                replace(temporary, path)
            else:
                move_new(temporary, path)
            sync_entry(path.parent)
    finally:
        with contextlib.suppress(OSError):
            _remove(temporary)


def require_absent(paths: list[Path]) -> None:
    """Refuse outputs that exist, a link that leads nowhere included, and those whose names leave no room.

    Raises:
        OutputError: one of the paths exists, or cannot.
    """
    for path in paths:
        with write_errors(path):
            if os.path.lexists(path):
                raise OutputError(f"the output {path} exists already; choose another name, or remove it first.")
            if len(os.fsencode(path.name)) + HIDDEN_NAME > _longest_name(path):
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))


def _longest_name(path: Path) -> int:
    place = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    try:
        return os.pathconf(place, "PC_NAME_MAX")
    except (OSError, ValueError):
        return LONGEST_NAME


def move_new(source: Path, path: Path) -> None:
    """Give a file or folder its final name, unless something has that name by now.

    A hard link fails where the name is taken, on network file systems too, which looking first does not.

    Raises:
        OutputError: the name is taken.
    """
    try:
        if source.is_dir():
            _rename_unless_there(source, path)
        else:
            os.link(source, path)
            source.unlink()
    except FileExistsError:
        raise OutputError(
            f"{path} was written by another process meanwhile; choose another name, or remove it."
        ) from None
    except OSError as cause:
        if cause.errno not in _NO_LINKS or not source.exists():
            raise
        _rename_unless_there(source, path)


def replace(source: Path, path: Path) -> None:
    """Give a file or folder a name that may be taken; what had it is there until then, and comes back on an error.

    A file takes another's place in one step. Folders cannot: what is there is set aside under a hidden name first, and
    removed at the end.
    """
    if not source.is_dir() and (path.is_symlink() or not path.is_dir()):
        os.replace(source, path)
        return
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(3)}")
    taken = os.path.lexists(path)
    if taken:
        os.rename(path, aside)
    try:
        os.rename(source, path)
    except OSError:
        if taken:
            os.rename(aside, path)
        raise
    _remove(aside)


def _rename_unless_there(source: Path, path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    os.rename(source, path)


@contextlib.contextmanager
def write_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Say what keeps ``path`` from being written as one sentence; errors about other files pass.

    Raises:
        OutputError: the disk is full, the name is too long, the place cannot be written; of a part of ``temporary``,
            as one of ``path``.
    """
    try:
        yield
    except OutputError as cause:
        if temporary is None or temporary.name not in str(cause):
            raise
        raise type(cause)(str(cause).replace(str(temporary), str(path))) from cause
    except Exception as cause:
        told = cause if isinstance(cause, OSError) and cause.errno is not None else _hidden_refusal(cause)
        if told is None or not _is_about(told, path, temporary or path):
            raise
        raise output_error(path, told) from cause


def _hidden_refusal(cause: Exception) -> OSError | None:
    return None if isinstance(cause, BandloomError) else refusal_in(cause)


def _is_about(cause: OSError, path: Path, temporary: Path) -> bool:
    """Tell whether an error is one of writing ``path``: its file, a folder above it, or a disk that takes no more."""
    named = file_of(cause)
    if named is None:
        return cause.errno in _OF_WRITING and cause.filename is None
    places = (named, *named.parents)
    beside = f".{path.name}."  # how everything begins that is written on the way
    hidden = any(place.parent == path.parent and place.name.startswith(beside) for place in places)
    return named in (path, *path.parents) or temporary in places or hidden


def file_of(cause: OSError) -> Path | None:
    """Return the file that an error is about: of a copy or a move that the disk refused, where it was to go."""
    refused = cause.errno in (*_OF_WRITING, *_CLOSED) and cause.filename2 is not None
    name = cause.filename2 if refused else cause.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None


def output_error(path: Path, cause: OSError) -> OutputError:
    """Return the sentence for an error of the operating system that kept ``path`` from being written."""
    match cause.errno:
        case errno.ENOSPC | errno.EDQUOT:
            text = f"the disk is full while writing {path}; free some space and run it again."
        case errno.EFBIG:
            text = f"{path} is larger than a file may be here (ulimit -f); raise that limit."
        case errno.ENAMETOOLONG:
            name = path.name if len(path.name) <= 40 else f"{path.name[:20]}...{path.name[-12:]}"
            text = (
                f"the output's name {name} is too long: it has {len(os.fsencode(path.name))} bytes, and with what is"
                f" written beside it at most {_longest_name(path)} are possible; choose a shorter one."
            )
        case errno.EROFS:
            text = f"{path} cannot be written: its file system is read-only; choose another place."
        case _:
            why = cause.strerror or str(cause)
            text = f"{path} cannot be written ({why}); choose another place."
    return OutputError(text)


def disk_refusal(path: Path, cause: BaseException) -> OutputError | None:
    """Return the sentence for a disk that takes nothing more, or nothing at all, where an error stems from one.

    Args:
        path: what was being written, where the error does not say.
        cause: of whatever kind, such as a download's, which the network may have ended as well.
    """
    told = refusal_in(cause)
    if told is None or told.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return None
    return output_error(file_of(told) or path, told)


def sync(path: Path) -> None:
    """Flush a file, or every file of a folder and the folder itself, to the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            sync(entry)
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


@contextlib.contextmanager
def full_disk_said(consequence: str) -> Iterator[None]:
    """Let a full disk cost what was to be written, and not the run."""
    try:
        yield
    except (OSError, OutputError) as cause:
        inner = cause if isinstance(cause, OSError) else cause.__cause__
        if not isinstance(inner, OSError) or inner.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _say_once(consequence)


@functools.cache
def _say_once(consequence: str) -> None:
    logger.warning("the disk is full: %s; training goes on", consequence)
