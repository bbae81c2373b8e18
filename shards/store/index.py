"""The sample index: each sample's place in its tar and on the ground, and its contents; one JSON line a sample."""

import datetime as clock
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bandloom.errors import ShardError

FORMAT_VERSION = 2  # 2 seals the manifest and lists the sha256 of every file; 1 is read without these checks
MANIFEST, INDEX = "manifest.json", "samples.jsonl"
VALUES = "value.b2nd"  # the member that holds measured values, float32


@dataclass(frozen=True)
class Entry:
    """One sample. ``x_m`` and ``y_m`` are UTM metres of its upper-left corner; fractions are of its whole square."""

    key: str
    shard: str  # file name of the tar
    sensor: str
    epsg: int
    x_m: float
    y_m: float
    side_px: int  # at 10 m
    datetime: str | None  # ISO 8601
    split: str
    valid_fraction: float
    cloud_fraction: float | None
    has_label: bool  # a class of its own, or a pixel with a class
    class_index: int | None = None
    inside_px: tuple[int, int] = (0, 0)  # rows and columns at 10 m that the scene reaches, rounded up to 60 m
    cells: tuple[str, ...] = ()  # its own one-degree cell, then those within the buffer
    members: dict[str, tuple[int, int]] = field(default_factory=dict)  # suffix -> offset, size in the tar
    xxh3: dict[str, str] = field(default_factory=dict)  # suffix -> checksum of the raw array
    captions: tuple[str, ...] = ()  # what is to be seen, in words
    value: float | None = None  # of a chip: the measured quantity that the manifest names
    origin: dict[str, Any] | None = None  # of a public corpus's sample: corpus, address, place, split, offset
    published: dict[str, str] | None = None  # of a labelled set's sample: its role by the name of a published split

    @property
    def time(self) -> clock.datetime | None:
        """When it was acquired."""
        return clock.datetime.fromisoformat(self.datetime) if self.datetime else None

    def to_json(self) -> str:
        """Return the entry as one line."""
        record = dict(vars(self))  # fields in their order; asdict would copy all that they hold
        if not self.captions:
            del record["captions"]
        for name in ("value", "origin", "published"):
            if record[name] is None:
                del record[name]
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Entry":
        """Build an entry from :meth:`to_json`'s record."""
        record["cells"], record["inside_px"] = tuple(record["cells"]), tuple(record["inside_px"])
        record["captions"] = tuple(record.get("captions", ()))
        record["members"] = {suffix: (at[0], at[1]) for suffix, at in record["members"].items()}
        return cls(**record)


def write_index(path: Path, entries: Iterable[Entry]) -> None:
    """Write one line an entry."""
    path.write_text("".join(entry.to_json() + "\n" for entry in entries))


def read_index(path: Path) -> list[Entry]:
    """Read the entries of an index.

    Raises:
        ShardError: it is absent or damaged.
    """
    try:
        return [Entry.from_record(json.loads(line)) for line in path.read_text().splitlines()]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise ShardError(f"the index {path} cannot be read ({cause}); copy it again, or rebuild the shards.") from cause
