"""Shards in a bucket: what fsspec opens, read through a bounded folder on this machine, every file verified whole."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bandloom.command_line.console import logger
from bandloom.errors import MissingExtraError, ShardError
from bandloom.files.output import new_output
from bandloom.shards.read.cache import Cache
from bandloom.shards.store.index import MANIFEST
from bandloom.shards.store.manifest import parse_manifest
from bandloom.shards.store.tar_file import file_sha256

_ADDRESS = re.compile(r"^([a-z][a-z0-9+.-]+):/+(.*)$", re.IGNORECASE)  # two letters or more: C:\ is a disk
_EXTRAS = {"s3": "s3", "s3a": "s3"}  # protocol -> the extra of this package that opens it
_CHUNK_BYTES = 16 * 2**20
_ATTEMPTS, _TOUCH_S = 4, 10.0
T = TypeVar("T")


def address_of(path: str | Path) -> str | None:
    """Return the address of a bucket, ``protocol://place``, or None for a folder of this machine.

    A :class:`~pathlib.Path` has made one slash of the two; that is undone.
    """
    match = _ADDRESS.match(str(path))
    if match is None:
        return None
    protocol, place = match.group(1).lower(), match.group(2).rstrip("/")
    return f"{protocol}:///{place}" if protocol in ("file", "local") else f"{protocol}://{place}"


class Bucket:
    """One shard folder in a bucket. Many threads and processes may share its cache."""

    def __init__(self, address: str, cache: Cache | None = None) -> None:
        """Read the manifest; the rest is fetched when it is needed.

        Args:
            address: ``s3://bucket/prefix``, or another address that fsspec opens.
            cache: where files are kept; None: as ``BANDLOOM_CACHE`` and ``BANDLOOM_CACHE_GB`` say.

        Raises:
            ShardError: there is no manifest, it is damaged, or the bucket does not answer.
        """
        self.address = address
        self._cache = cache or Cache.from_environment()
        self._files, self._root = _open(address)
        content = self._asked(MANIFEST, lambda: self._files.cat_file(f"{self._root}/{MANIFEST}"))
        self.manifest = parse_manifest(content, f"{address}/{MANIFEST}")
        name = re.sub(r"[^A-Za-z0-9-]+", "-", address.partition("://")[2]).strip("-")[-80:]
        self.folder = self._cache.folder(f"{name}-{hashlib.sha256(content).hexdigest()[:16]}")
        self._sha256: dict[str, str] = {tar["tar"]: tar["sha256"] for tar in self.manifest["shards"]}
        self._sha256 |= self.manifest.get("files", {})
        self._bytes: dict[str, int] = {tar["tar"]: tar["bytes"] for tar in self.manifest["shards"]}
        self._touched: dict[str, float] = {}
        if not (self.folder / MANIFEST).is_file():
            with new_output(self.folder / MANIFEST, overwrite=True) as temporary:
                temporary.write_bytes(content)

    def fetch(self, name: str) -> Path:
        """Return a file of the set on this machine, fetched and verified when it is not there yet.

        Raises:
            ShardError: it cannot be fetched, is not what the manifest says, or does not fit into the cache.
        """
        if name not in self._sha256:
            raise ShardError(f"the manifest of {self.address} does not vouch for {name}; upload a set built anew.")
        path = self.folder / name
        while not path.exists():
            size = self._bytes.get(name)
            if size is None:
                size = self._bytes[name] = int(self._asked(name, lambda: self._files.size(f"{self._root}/{name}")))
            with self._cache.reserve(path, size) as part:
                if part is not None:
                    self._download(name, part, size)
        self._touch(path)
        return path

    def pread(self, name: str, size: int, offset: int) -> bytes:
        """Return bytes of a file of the set; nothing is held open, so that the cache can let go of any file.

        Raises:
            ShardError: it cannot be fetched.
        """
        while True:
            try:
                descriptor = os.open(self.fetch(name), os.O_RDONLY)
            except FileNotFoundError:  # another process made room for its own between the two calls
                continue
            try:
                return os.pread(descriptor, size, offset)
            finally:
                os.close(descriptor)

    def renew(self, name: str) -> bool:
        """Forget a file that is no longer what was fetched; return whether it was so, and a new one can help."""
        path = self.folder / name
        try:
            if file_sha256(path) == self._sha256.get(name):
                return False
        except OSError:
            return True
        logger.warning("%s has changed on this machine's disk and is fetched again", path)
        path.unlink(missing_ok=True)
        return True

    def _download(self, name: str, part: Path, size: int) -> None:
        """Append to ``part`` until it is whole and verified; what an interrupted download left is gone on from."""
        for attempt in range(2):
            with part.open("ab") as file:
                while (at := file.tell()) < size:
                    upto = min(at + _CHUNK_BYTES, size)
                    content = self._asked(name, lambda a=at, b=upto: self._part_of(name, a, b))
                    file.write(content)
                    file.flush()
            if file_sha256(part) == self._sha256[name]:
                return
            if attempt == 0:  # what a crash left may be at fault
                part.write_bytes(b"")
        raise ShardError(
            f"{self.address}/{name} is not what its manifest says (its sha256 differs); upload the shards again."
        )

    def _part_of(self, name: str, begin: int, end: int) -> bytes:
        content = self._files.cat_file(f"{self._root}/{name}", start=begin, end=end)
        if len(content) != end - begin:
            raise ShardError(f"{self.address}/{name} is shorter than its manifest says; upload the shards again.")
        return content

    def _asked(self, name: str, ask: Callable[[], T]) -> T:
        """Ask the bucket, again after a while where that may help."""
        for attempt in range(_ATTEMPTS):
            try:
                return ask()
            except ShardError:
                raise
            except FileNotFoundError as cause:
                hint = "it is no finished shard folder" if name == MANIFEST else "upload the shards again"
                raise ShardError(f"{self.address} holds no {name}; {hint}: check the address.") from cause
            except Exception as cause:  # every store has errors of its own, of no one family
                said = " ".join(str(cause).split()) or type(cause).__name__
                if attempt == _ATTEMPTS - 1 or isinstance(cause, PermissionError) or "credentials" in said.lower():
                    raise ShardError(
                        f"{self.address}/{name} cannot be read ({said}); check the address, the network, and the"
                        " credentials in the environment."
                    ) from cause
                logger.warning("%s/%s: %s; trying again", self.address, name, said)
                time.sleep(2**attempt)
        raise ShardError(f"{self.address}/{name} cannot be read.")

    def _touch(self, path: Path) -> None:
        """Mark a file as used, a few times a minute at most."""
        now = time.monotonic()
        if now - self._touched.get(path.name, -_TOUCH_S) >= _TOUCH_S:
            self._touched[path.name] = now
            try:
                os.utime(path)
            except FileNotFoundError:
                self._touched.pop(path.name, None)


def _open(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the place in it."""
    protocol = address.partition(":")[0]
    try:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(address)
    except ImportError as cause:
        if protocol in _EXTRAS:
            raise MissingExtraError("s3fs", _EXTRAS[protocol]) from cause
        raise ShardError(f"{address} needs a package that is not here: {cause}.") from cause
    except ValueError as cause:
        raise ShardError(f"{address} has no protocol that fsspec knows ({cause}); expected such as s3://.") from cause
    return files, root.rstrip("/")
