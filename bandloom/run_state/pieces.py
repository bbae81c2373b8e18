"""Finished pieces of a long stage, kept in the run folder: an attempt that goes on takes them as they are.

A piece is what a function returned: plain values, arrays, and records of the classes that are named, in one ``.npz``
without pickles. Its file's name holds a digest of all that it was made from, so that nothing else is ever taken for it.
"""

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bandloom.files.output import full_disk_said, new_output

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The pieces of one run.

    Args:
        folder: where they lie.
        made_of: what all of them depend on, as plain JSON types: the run's config, say.
    """

    folder: Path
    made_of: Any

    def take(self, name: str, made_of: Any, make: Callable[[], T], kinds: tuple[type, ...]) -> T:
        """Return a piece that was kept, or make it and keep it."""
        everything = json.dumps([self.made_of, name, made_of], sort_keys=True, default=str)
        digest = hashlib.sha256(everything.encode()).hexdigest()[:24]
        path = self.folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{digest}.npz"
        try:
            return _read(path, kinds)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            piece = make()
        with full_disk_said(f"{name} is not kept"):
            _write(path, piece)
        return piece


_PIECES: ContextVar[Pieces | None] = ContextVar("pieces", default=None)


@contextmanager
def kept_in(pieces: Pieces) -> Iterator[None]:
    """Let :func:`kept` keep its pieces there."""
    token = _PIECES.set(pieces)
    try:
        yield
    finally:
        _PIECES.reset(token)


def kept(name: str, made_of: Any, make: Callable[[], T], *kinds: type) -> T:
    """Return what ``make`` returns, or what an earlier attempt at the run got from the same.

    Args:
        name: for people.
        made_of: all that the piece depends on beside the run's config: plain JSON types, or what has a telling ``str``.
        make: returns plain values, arrays, records of ``kinds``, and lists, tuples and dicts of these.
        kinds: the records' classes.
    """
    pieces = _PIECES.get()
    return make() if pieces is None else pieces.take(name, made_of, make, kinds)


def _write(path: Path, piece: Any) -> None:
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_encoded(piece, arrays))
    with new_output(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, tree=np.frombuffer(tree.encode(), np.uint8), **arrays)  # pyright: ignore[reportArgumentType]


def _read(path: Path, kinds: tuple[type, ...]) -> Any:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
        tree = json.loads(held["tree"].tobytes())
        return _decoded(tree, held, {kind.__name__: kind for kind in kinds})


def _encoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        arrays[name := f"a{len(arrays)}"] = np.asarray(value)
        return {"scalar" if isinstance(value, np.generic) else "array": name}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_encoded(item, arrays) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_encoded(key, arrays), _encoded(item, arrays)] for key, item in value.items()]}
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {"record": type(value).__name__, "fields": {name: _encoded(field, arrays) for name, field in fields.items()}}


def _decoded(tree: Any, arrays: Any, kinds: dict[str, type]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "record" in tree:
        return kinds[tree["record"]](**{name: _decoded(field, arrays, kinds) for name, field in tree["fields"].items()})
    ((form, inner),) = tree.items()
    if form in ("array", "scalar"):
        return arrays[inner] if form == "array" else arrays[inner][()]
    if form == "dict":
        return {_decoded(key, arrays, kinds): _decoded(item, arrays, kinds) for key, item in inner}
    items = [_decoded(item, arrays, kinds) for item in inner]
    return tuple(items) if form == "tuple" else items
