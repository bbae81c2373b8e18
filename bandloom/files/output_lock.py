"""Output locks: one writer an output, by a lock beside it that ends with its process, however that process ends."""

import contextlib
import errno
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bandloom.errors import BusyOutputError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # a file system that keeps none
_held = threading.local()


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock of an output as long as the block runs.

    The kernel drops the lock of a process that is killed, and NFS carries it to other machines. Where a file system
    knows no locks (Lustre without ``flock``), the lock file itself is the claim, and that of a dead process of this
    machine is taken over.

    Args:
        out: the output; its folder must be there.

    Raises:
        BusyOutputError: another process is writing it.
        OSError: its folder cannot be written.
    """
    lock = lock_of(out)
    descriptor = _take(lock, out)
    _ours().add(lock)
    try:
        yield
    finally:
        _ours().discard(lock)
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def is_ours(out: Path) -> bool:
    """Tell whether this thread holds the lock of an output."""
    return lock_of(out) in _ours()


def _ours() -> set[Path]:
    return _held.__dict__.setdefault("locks", set())


def lock_of(out: Path) -> Path:
    """Return where the lock of an output lies."""
    return out.absolute().with_name(f".{out.name}.lock")


def _take(lock: Path, out: Path) -> int:
    """Return the descriptor of a lock that is ours."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise _busy(out, _owner(lock)) from None
        except OSError as cause:
            os.close(descriptor)
            if cause.errno not in _NO_LOCKS:
                raise
            return _take_by_name(lock, out)
        if _is_still(lock, descriptor):  # its last owner may have removed it while we opened it
            return _signed(lock, descriptor)
        os.close(descriptor)


def _take_by_name(lock: Path, out: Path) -> int:
    owner = _owner(lock)
    if owner and not _is_dead(owner):
        raise _busy(out, owner)
    with contextlib.suppress(FileNotFoundError):
        lock.unlink()
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise _busy(out, _owner(lock)) from None
    return _signed(lock, descriptor)


def _signed(lock: Path, descriptor: int) -> int:
    """Write whose lock it is; where nothing can be written, a full disk say, no lock stays."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()} {time.strftime('%H:%M:%S')}\n".encode(), 0)
    except OSError:
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(descriptor)
        raise
    return descriptor


def _owner(lock: Path) -> list[str]:
    """Return process number, machine and time of the owner; nothing where it has not signed yet."""
    with contextlib.suppress(OSError):
        words = lock.read_text().split()
        return words if len(words) == 3 else []
    return []


def _is_dead(owner: list[str]) -> bool:
    """Tell whether an owner is known to be dead; of another machine nobody knows."""
    if owner[1] != socket.gethostname():
        return False
    try:
        os.kill(int(owner[0]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError):
        return False
    return False


def _is_still(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _busy(out: Path, owner: list[str]) -> BusyOutputError:
    who = f"process {owner[0]} on {owner[1]} since {owner[2]}" if owner else "another process"
    return BusyOutputError(f"{out} is being written by {who}; wait for it, or choose another name.")
