"""A bounded disk cache of fetched files, shared by threads and processes: the least recently used go first."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from bandloom.errors import ShardError
from bandloom.shards.store.index import MANIFEST

DEFAULT_GB = 100.0
_FREE_SHARE = 0.95  # of what the disk has free, the cache fills no more than this
_PART = ".part-"  # .NAME.part-SIZE: a file on its way, counted with its whole size
_WAIT_S = 0.05


class Cache:
    """A folder of folders of files."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        """Use the folder ``root``, made when it is absent, for at most ``limit_bytes``.

        Raises:
            ShardError: it cannot be made.
        """
        self.root, self.limit_bytes = root, limit_bytes
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise _unusable(root, cause) from cause

    @classmethod
    def from_environment(cls) -> "Cache":
        """Use ``BANDLOOM_CACHE`` (a folder on a disk of this machine) and ``BANDLOOM_CACHE_GB`` (default 100).

        Raises:
            ShardError: the size is no number above 0, or the folder cannot be made.
        """
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        text = os.environ.get("BANDLOOM_CACHE_GB", str(DEFAULT_GB))
        try:
            limit = int(float(text) * 1e9)
        except (ValueError, OverflowError):
            limit = 0
        if limit <= 0:
            raise ShardError(f"BANDLOOM_CACHE_GB is {text!r}; expected a number of gigabytes above 0, such as 100.")
        return cls(Path(os.environ.get("BANDLOOM_CACHE") or Path(home) / "bandloom" / "shards"), limit)

    def folder(self, name: str) -> Path:
        """Return a folder of the cache, made when it is absent."""
        try:
            (self.root / name).mkdir(exist_ok=True)
        except OSError as cause:
            raise _unusable(self.root, cause) from cause
        return self.root / name

    @contextlib.contextmanager
    def reserve(self, path: Path, size: int) -> Iterator[Path | None]:
        """Yield the file under which ``path``, of ``size`` bytes, is to be made; this caller alone holds it.

        What an interrupted caller left of it is still there; it becomes ``path`` once the caller leaves without error.
        None: somebody else was at it, or has made it; look again.

        Raises:
            ShardError: it is larger than the cache, or the folder cannot be written.
        """
        if size > self.limit_bytes:
            raise ShardError(
                f"{path.name} of {size / 1e9:.2f} GB does not fit into the cache {self.root} of"
                f" {self.limit_bytes / 1e9:.2f} GB; set BANDLOOM_CACHE_GB to several times that."
            )
        part = path.with_name(f".{path.name}{_PART}{size}")
        try:
            descriptor = self._claim(path, part, size)
        except OSError as cause:
            raise _unusable(self.root, cause) from cause
        if descriptor is None:
            yield None
            return
        try:
            yield part
            with _locked(self.root / ".lock"):  # one who counts what is held, under the lock, meets one name of it
                part.rename(path)
        except OSError as cause:
            raise _unusable(self.root, cause) from cause
        finally:
            os.close(descriptor)

    def _claim(self, path: Path, part: Path, size: int) -> int | None:
        """Return the locked descriptor of ``part`` once there is room for it, or None when it is another's."""
        while True:
            with _locked(self.root / ".lock"):
                if path.exists():
                    return None
                if part.exists() or self._make_room(size):
                    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
                    if _try_lock(descriptor):
                        return descriptor
                    break
            time.sleep(_WAIT_S)  # what others fetch fills the cache; they will be done, and their files may go
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # until the other is done
        os.close(descriptor)
        return None

    def _make_room(self, size: int) -> bool:
        """Remove the longest unused files until ``size`` bytes fit; False while only files on their way are left."""
        files = sorted(_files(self.root), key=lambda each: each[0])
        used = sum(file[1] for file in files)
        limit = min(self.limit_bytes, used + int(shutil.disk_usage(self.root).free * _FREE_SHARE))
        busy = False
        for _, bytes_, path in files:
            if used + size <= limit:
                break
            if _PART in path.name and not _is_abandoned(path):
                busy = True
                continue
            path.unlink(missing_ok=True)
            used -= bytes_
        if used + size > limit and not busy:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return used + size <= limit


def _files(root: Path) -> Iterator[tuple[float, int, Path]]:
    """Yield when each file was last used, the room that it takes, and its path; manifests stay."""
    for path in root.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            whole = path.name.partition(_PART)[2]
            if path.name != MANIFEST and (whole or not path.name.startswith(".")):
                yield state.st_mtime, int(whole) if whole else state.st_size, path


def _is_abandoned(part: Path) -> bool:
    """Tell whether nobody is fetching a file."""
    try:
        descriptor = os.open(part, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unusable(root: Path, cause: OSError) -> ShardError:
    return ShardError(
        f"the cache {root} cannot be used ({cause.strerror or cause}); set BANDLOOM_CACHE to a folder on a disk of this"
        " machine with room."
    )
