"""Reproducible tar files: fixed owner and time, so equal samples give equal bytes."""

import hashlib
import tarfile
from pathlib import Path
from typing import IO

_BLOCK = tarfile.BLOCKSIZE


class TarFile:
    """Appends members to a new tar and knows where each begins."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb")
        self.at = 0  # where the next member goes

    def add(self, name: str, content: bytes) -> tuple[int, int]:
        """Append a member and return its content's offset and size."""
        info = tarfile.TarInfo(name)
        info.size = len(content)
        header = info.tobuf(tarfile.USTAR_FORMAT)
        padding = -len(content) % _BLOCK
        self._file.write(header + content + b"\0" * padding)
        offset = self.at + len(header)
        self.at = offset + len(content) + padding
        return offset, len(content)

    def cut_back(self, at: int) -> None:
        """Take back everything after an earlier :attr:`at`."""
        self._file.truncate(at)
        self._file.seek(at)
        self.at = at

    def abandon(self) -> None:
        """Close the file without an end."""
        self._file.close()

    def close(self) -> int:
        """End the tar and return its size in bytes."""
        self._file.write(b"\0" * (2 * _BLOCK))
        self.at += 2 * _BLOCK
        self._file.close()
        return self.at


def file_sha256(path: Path) -> str:
    """Return a file's sha256 as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
