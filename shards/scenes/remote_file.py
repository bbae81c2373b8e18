"""Remote archives read by ranges, so that a product's metadata and checksums are seen in place."""

import io
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from bandloom.errors import SceneError

_GDAL = {"/vsicurl/": "", "/vsis3/": "s3://", "/vsigs/": "gs://", "/vsiaz/": "az://"}
_BUFFER_BYTES = 2**20
_ATTEMPTS, _TIMEOUT_S = 3, 60


def address_of(path: str | Path) -> str:
    """Return where an archive lies, an address or a local path, given GDAL's name for it or for a folder inside it.

    ``/vsizip//vsicurl/http://host/S2.zip/S2.SAFE``, ``/vsicurl/http://host/S2.zip`` and ``http://host/S2.zip`` are one.
    """
    text = str(path).removeprefix("/vsizip/").replace("{", "").replace("}", "")
    for prefix, scheme in _GDAL.items():
        if text.startswith(prefix):
            text = scheme + text.removeprefix(prefix)
    text = re.sub(r"^(https?|s3|gs|az):/+", r"\1://", text)  # pathlib makes one slash of two
    if str(path).startswith("/vsizip/") and ".zip/" in text:
        text = text.partition(".zip/")[0] + ".zip"
    return text


def is_remote(address: str) -> bool:
    """Tell whether an address is not a local path."""
    return "://" in address


def gdal_name(address: str) -> str:
    """Return GDAL's name for a remote file."""
    for prefix, scheme in _GDAL.items():
        if scheme and address.startswith(scheme):
            return prefix + address.removeprefix(scheme)
    return f"/vsicurl/{address}"


def open_remote(address: str) -> IO[bytes]:
    """Open a remote file for reading at any place; http needs nothing more, buckets need fsspec's package for them.

    Raises:
        SceneError: it cannot be read, or its server does not give ranges.
    """
    if address.startswith("http"):
        return io.BufferedReader(_RangeFile(address), _BUFFER_BYTES)
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(address)
        opened: Any = filesystem.open(path, "rb")
    except Exception as cause:  # every store has errors of its own, of no one family
        said = " ".join(str(cause).split()) or type(cause).__name__
        raise SceneError(f"{address} cannot be read ({said}); check the address and the credentials.") from cause
    return opened


class _RangeFile(io.RawIOBase):
    """A file behind http, every read a request for its range."""

    def __init__(self, address: str) -> None:
        self._address, self._at = address, 0
        _, told = self._ask(0, 1)
        self._size = int(told.rpartition("/")[2])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        content, _ = self._ask(self._at, self._at + count)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def _ask(self, begin: int, end: int) -> tuple[bytes, str]:
        """Return the bytes of a range, and what the server says of it (``bytes 0-0/SIZE``)."""
        request = urllib.request.Request(self._address, headers={"Range": f"bytes={begin}-{end - 1}"})
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                    if answer.status != 206:
                        raise SceneError(
                            f"the server of {self._address} gives whole files alone; fetch it, and name the file here."
                        )
                    content = answer.read()
                    if len(content) == end - begin:
                        return content, answer.headers.get("Content-Range", "")
            except (OSError, urllib.error.URLError) as cause:
                final = isinstance(cause, urllib.error.HTTPError) and cause.code < 500
                if final or attempt == _ATTEMPTS - 1:
                    raise SceneError(f"{self._address} cannot be read ({cause}); check the address.") from cause
            time.sleep(attempt)
        raise SceneError(f"{self._address} is cut short on its way; try again, or fetch it first.")
