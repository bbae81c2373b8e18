"""A folder of a published set, unpacked or still inside its zip: the files in it, and their addresses for GDAL."""

import itertools
import re
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bandloom.errors import LabelError
from bandloom.shards.scenes.litter import is_litter

LOOKED_AT = 1000  # names in a folder of perhaps a million, to tell what it holds


@dataclass(frozen=True)
class Place:
    """A folder on disk, or one inside a zip.

    Args:
        path: the folder or the zip.
        inside: the folder inside the zip, with slashes and no slash at its end; empty for its top, or on disk.
    """

    path: Path
    inside: str = ""

    def __str__(self) -> str:
        return str(self.path) + (f" ({self.inside})" if self.inside else "")

    @property
    def zipped(self) -> bool:
        """Whether the files still lie in their zip."""
        return self.path.suffix.lower() == ".zip" and self.path.is_file()

    def __truediv__(self, name: str) -> "Place":
        if self.zipped:
            return Place(self.path, f"{self.inside}/{name}".strip("/"))
        return Place(self.path / name)

    def names(self) -> list[str]:
        """Return the names of files and folders right inside, in order; empty where there is no such folder."""
        if not self.zipped:
            inside = self.path.iterdir() if self.path.is_dir() else ()
            return sorted(child.name for child in inside if not is_litter(child.name))
        return sorted(_children(self.path).get(self.inside, ()))

    def first(self, pattern: str) -> str | None:
        """Return the first name right inside that fits, by a look at :data:`LOOKED_AT` of them at most."""
        if self.zipped:
            inside = iter(self.names())
        else:
            inside = (child.name for child in self.path.iterdir()) if self.path.is_dir() else iter(())
        fits = re.compile(pattern)
        return next((name for name in itertools.islice(inside, LOOKED_AT) if fits.fullmatch(name)), None)

    def has(self, name: str) -> bool:
        """Tell whether there is a file or folder of that name right inside."""
        return name in _children(self.path).get(self.inside, ()) if self.zipped else (self.path / name).exists()

    def address(self, name: str) -> str:
        """Return where GDAL finds a file."""
        if self.zipped:
            return "/".join(("/vsizip", str(self.path.resolve()), *filter(None, (self.inside, name))))
        return str(self.path / name)

    def text(self, name: str) -> str:
        """Return a text file.

        Raises:
            LabelError: it cannot be read, or is no UTF-8.
        """
        try:
            if not self.zipped:
                return (self.path / name).read_text("utf-8-sig")
            with zipfile.ZipFile(self.path) as packed:
                return packed.read(f"{self.inside}/{name}".strip("/")).decode("utf-8-sig")
        except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile) as cause:
            raise LabelError(f"{self.address(name)} cannot be read ({cause}); fetch it again.") from cause


def places_in(root: Place, *inside: str) -> list[Place]:
    """Return the root, then folders that exist at the given paths in it, then the same in every zip that it holds."""
    zips = [] if root.zipped else [root.path / name for name in root.names() if name.lower().endswith(".zip")]
    places = []
    for top in (root, *map(Place, zips)):
        for path in ("", *inside):
            place = top
            for part in path.split("/") if path else ():
                place = place / part
            if place.names():
                places.append(place)
    return places


@lru_cache(maxsize=8)
def _children(path: Path) -> dict[str, frozenset[str]]:
    """Return the names in every folder of a zip.

    Raises:
        LabelError: it is no zip, or cut short.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()
    except (OSError, zipfile.BadZipFile) as cause:
        raise LabelError(f"{path} cannot be read as a zip ({cause}); it may be cut short: fetch it again.") from cause
    members: dict[str, set[str]] = {}
    for name in names:
        parts = name.strip("/").split("/")
        if any(is_litter(part) for part in parts):
            continue
        for depth in range(len(parts)):
            members.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    return {folder: frozenset(children) for folder, children in members.items()}
