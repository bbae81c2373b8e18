"""Delivered products as sets of named files, in a folder, zip or tar, read with suspicion."""

import hashlib
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any
from xml.etree import ElementTree

from bandloom.errors import SceneError
from bandloom.shards.scenes.checksums import check_beside, glancing
from bandloom.shards.scenes.litter import is_litter
from bandloom.shards.scenes.remote_file import address_of, gdal_name, is_remote, open_remote

PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
_XML_LIMIT_BYTES = 64 * 2**20  # the largest real metadata file has 24 MB
_MEMBER_LIMIT_BYTES = 4 * 2**30  # a Sentinel-2 band has 0.15 GB at most
_RATIO_LIMIT = 200  # unpacked over packed size; JP2 and TIFF do not shrink further
_CHUNK = 2**20
# What zipfile and tarfile raise on damaged bytes; RuntimeError is a flipped bit that says "encrypted"
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)


class Product:
    """The files of one product by their path inside it."""

    def __init__(self, path: str | Path) -> None:
        """List the files of a folder or archive; a zip may lie behind an address, such as ``/vsizip//vsicurl/http://``.

        Raises:
            SceneError: the archive is damaged, or holds entries that no product has (``..``, absolute paths, bombs).
        """
        address = address_of(path)
        self.path = Path(address)
        self._remote = address if is_remote(address) else None
        if self.path.is_file():
            check_beside(self.path)
        try:
            self._archive: Any = open_remote(self._remote) if self._remote else self.path
            self._sizes = _list(self.path, self._archive)
        except _ARCHIVE_ERRORS as cause:
            raise SceneError(f"{path} cannot be opened ({cause}); it may be truncated: fetch it again.") from cause

    @property
    def names(self) -> list[str]:
        """All file paths, sorted."""
        return sorted(self._sizes)

    def find(self, ending: str) -> str | None:
        """Return the one file whose path ends so (letter case aside), or None."""
        matches = [name for name in self.names if name.lower().endswith(ending.lower())]
        return min(matches, key=len) if matches else None

    def gdal_path(self, name: str) -> str:
        """Return the path under which GDAL opens a file.

        Raises:
            SceneError: the file is absent or empty.
        """
        if name not in self._sizes:
            raise SceneError(f"{self.path} lacks {name}; the product is incomplete: fetch it again.")
        if self._sizes[name] == 0:
            raise SceneError(f"{self.path} holds {name} with 0 bytes; fetch the product again.")
        if self._remote:
            return f"/vsizip/{{{gdal_name(self._remote)}}}/{name}"
        if self.path.is_dir():
            return str(self.path / name)
        kind = "vsizip" if is_zip(self.path) else "vsitar"
        return f"/{kind}/{{{self.path.resolve()}}}/{PurePosixPath(name)}"  # GDAL lists ./NAME of a tar as NAME

    def read(self, name: str, limit_bytes: int = _XML_LIMIT_BYTES) -> bytes:
        """Return a small file's content.

        Raises:
            SceneError: it is absent, damaged or larger than any real one.
        """
        if self._sizes.get(name, 0) > limit_bytes:
            raise SceneError(f"{self.path} holds {name} of {self._sizes[name]} bytes, more than any real product's.")
        return b"".join(self._chunks(name))

    def xml(self, name: str) -> ElementTree.Element:
        """Parse a metadata file; declarations of entities are refused, in whatever encoding they hide.

        Raises:
            SceneError: it is absent, not XML, or declares a document type.
        """
        text = _text_of(self.read(name))
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise SceneError(f"{self.path}: {name} declares a document type, which no product does; it is not opened.")
        if "\0" in text:
            raise SceneError(f"{self.path}: {name} is not text in UTF-8 or Latin-1, as products' is; it is not opened.")
        try:
            return ElementTree.fromstring(text)  # a str is never decoded again, whatever encoding it declares
        except ElementTree.ParseError as cause:
            raise SceneError(f"{self.path}: {name} is not readable XML ({cause}); fetch the product again.") from cause

    def check(self, name: str, algorithm: str, wanted: str) -> None:
        """Compare a file's checksum with the one its product states.

        Raises:
            SceneError: they differ: the pixels would be wrong with no further sign.
        """
        if glancing():
            return
        digest = hashlib.new({"MD5": "md5", "SHA3-256": "sha3_256", "SHA-256": "sha256"}.get(algorithm, "md5"))
        for chunk in self._chunks(name):
            digest.update(chunk)
        if digest.hexdigest().lower() != wanted.strip().lower():
            raise SceneError(f"{self.path}: {name} is damaged (its {algorithm} is not the manifest's); fetch it again.")

    def _chunks(self, name: str) -> Iterable[bytes]:
        if name not in self._sizes:
            raise SceneError(f"{self.path} lacks {name}; the product is incomplete: fetch it again.")
        try:
            if self.path.is_dir():
                check_beside(self.path / name)
                with (self.path / name).open("rb") as file:
                    yield from _in_chunks(file)
            elif is_zip(self.path):
                with zipfile.ZipFile(self._archive) as archive, archive.open(name) as file:
                    yield from _in_chunks(file)
            else:
                with tarfile.open(self.path) as archive, archive.extractfile(name) as file:  # pyright: ignore
                    yield from _in_chunks(file)
        except _ARCHIVE_ERRORS as cause:
            raise SceneError(f"{self.path}: {name} cannot be read ({cause}); fetch the product again.") from cause


def _in_chunks(file: IO[bytes]) -> Iterable[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _text_of(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _list(path: Path, archive_file: Any) -> dict[str, int]:
    """Return every file's size by its path, of a folder, or of an archive that may be open already."""
    if path.is_dir():
        inside = ((p.relative_to(path), p) for p in path.rglob("*") if p.is_file())
        return {name.as_posix(): p.stat().st_size for name, p in inside if not is_litter(name)}
    if is_zip(path):
        with zipfile.ZipFile(archive_file) as archive:
            members = [(i.filename, i.file_size, i.compress_size) for i in archive.infolist() if not i.is_dir()]
    else:
        with tarfile.open(path) as archive:
            members = [(member.name, member.size, member.size) for member in archive if member.isfile()]
    if twice := next((name for name, times in Counter(name for name, *_ in members).items() if times > 1), None):
        raise SceneError(f"{path} holds two entries {twice!r}; which one counts is not known: it is not opened.")
    for name, size, packed in members:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise SceneError(f"{path} holds an entry {name!r} that points outside the archive; it is not opened.")
        if size > _MEMBER_LIMIT_BYTES or size > _RATIO_LIMIT * max(packed, 1) + _CHUNK:
            raise SceneError(f"{path} holds an entry {name!r} that unpacks to {size} bytes; it is not opened.")
    return {name: size for name, size, _ in members if not is_litter(name)}


def names_inside(path: Path) -> list[str]:
    """Return the names of the files of an archive, or right inside a folder; none where it cannot be read as one."""
    try:
        if path.is_dir():
            return [entry.name for entry in path.iterdir() if not is_litter(entry.name)]
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                return [name for name in archive.namelist() if not is_litter(name)]
        if is_tar(path):
            with tarfile.open(path) as archive:
                return [name for name in archive.getnames() if not is_litter(name)]
    except _ARCHIVE_ERRORS:
        return []
    return []


def is_zip(path: Path) -> bool:
    """Tell whether a path is named like a zip."""
    return path.suffix.lower() == ".zip"


def is_tar(path: Path) -> bool:
    """Tell whether a path is named like a tar, packed or not."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz")) and path.is_file()
