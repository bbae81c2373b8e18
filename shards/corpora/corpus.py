"""What a corpus is: containers of many samples, and a sample inside one by its inner address."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bandloom.errors import SceneError
from bandloom.shards.scenes import Scene

INNER = "!"  # between a container's path and what is in it: FILE.zarr.zip!0000173!2


@dataclass(frozen=True)
class Container:
    """A file or folder that holds many samples, read once and in order.

    Attributes:
        path: where it lies.
        inner: the part of it that is meant, where a container is too large for one unit of work.
        samples: about how many squares it gives; units of work are made from it, and nothing else.
    """

    path: str
    inner: str | None = None
    samples: int = 1


@dataclass(frozen=True)
class Member:
    """One sample of a container: its inner address, and what opens it as a scene.

    Attributes:
        inner: its address in the container.
        open: opens it; raises a :class:`SceneError` where it cannot be used, and the others stand.
        origin: what is known of it before it is opened: place, season, published split.
    """

    inner: str
    open: Callable[[], Scene]
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The inner address as part of a sample's key: no dots, no colons."""
        return slug(self.inner)


@dataclass(frozen=True)
class Asked:
    """What a user says of a corpus's samples, for those that do not say it themselves."""

    offset: int | None = None


@dataclass(frozen=True)
class Corpus:
    """A public corpus in its published layout.

    Attributes:
        name: as ``--corpus`` names it.
        title: as its authors do.
        licence: of the data.
        side_px: side of its patches in pixels of 10 m, or the side that cuts them with the least padding.
        looks_like: what it is recognised by, for messages.
        containers: the containers that a path is, or that lie right inside; None where it is none of this corpus.
        members: the samples of a container, in order.
        repository: on the Hugging Face hub; None where it is published elsewhere.
        wanted: patterns of the files to fetch from there.
    """

    name: str
    title: str
    licence: str
    side_px: int
    looks_like: str
    containers: Callable[[Path], Iterable[Container] | None]
    members: Callable[[Container, Asked], Iterator[Member]]
    repository: str | None = None
    wanted: tuple[str, ...] = ()


def broken(inner: str, error: SceneError, origin: dict[str, Any] | None = None) -> Member:
    """Return a sample that cannot be opened, with its reason."""

    def refuse() -> Scene:
        raise error

    return Member(inner, refuse, origin or {})


def slug(text: str) -> str:
    """Return a text as keys hold it: letters, digits, ``_`` and ``-`` alone."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text.replace(INNER, "_"))


def split_in(path: str | Path) -> str | None:
    """Return the published split that a path names: in its file name, or as one of the two folders that hold it.

    Folders further up are the user's own: a disk may be called ``test``.
    """
    words = {"train": "train", "val": "val", "validation": "val", "test": "test"}
    parts = Path(path).parts
    folders = [words[part] for part in parts[-3:-1] if part in words]
    in_name = [words[part] for part in re.split(r"[_.-]", parts[-1]) if part in words] if parts else []
    return (in_name or folders[-1:] or [None])[0]


def one_role(pairs: Iterable[tuple[Any, str]], where: object) -> dict[Any, str]:
    """Return the published split of every sample.

    Raises:
        SceneError: a sample is listed under two: it would be learnt from and tested on.
    """
    roles: dict[Any, str] = {}
    for sample, role in pairs:
        if roles.setdefault(sample, role) != role:
            raise SceneError(f"{where} lists {sample} under {roles[sample]} and under {role}; fetch it again.")
    return roles
