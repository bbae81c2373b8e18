"""A folder of shards, here or in a bucket, as an indexed set of samples, verified when read. Needs no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.errors import ShardError, nearest
from bandloom.sensors import Sensor
from bandloom.shards.build.geography import SPLITS
from bandloom.shards.read.bucket import Bucket, address_of
from bandloom.shards.store.codec import checksum, decode_into
from bandloom.shards.store.index import INDEX, VALUES, Entry, read_index
from bandloom.shards.store.manifest import check_file, read_manifest


@dataclass(frozen=True)
class Sample:
    """One sample as it was measured: native groups, and labels when it has them."""

    key: str
    sensor: Sensor
    groups: dict[int, np.ndarray]  # {gsd_m: (C, H_g, W_g)} uint16 DN
    label: np.ndarray | None  # (H10, W10) uint8 class indices
    class_index: int | None
    meta: dict[str, Any]
    captions: tuple[str, ...] = ()


class ShardSet:
    """Shards of one folder. Safe to read from many threads."""

    def __init__(self, path: str | Path) -> None:
        """Open the folder at ``path``, or at an address that fsspec opens, such as ``s3://bucket/prefix``.

        Of a bucket, ``self.path`` is the folder of this machine that its files come to as they are needed.

        Raises:
            ShardError: there is no manifest, or one of another format; or it or the index is missing or has changed.
        """
        address = address_of(path)
        self.bucket = Bucket(address) if address else None
        self.path = self.bucket.folder if self.bucket else Path(path)
        self.manifest = self.bucket.manifest if self.bucket else read_manifest(self.path)
        self.sensors = {name: Sensor.from_dict(record) for name, record in self.manifest["sensors"].items()}
        record = self.manifest["label_set"]
        self.label_set = LabelSet.from_dict(record) if record else None
        self.quantity: dict[str, Any] | None = self.manifest.get("quantity")
        self.statistics: dict[str, dict[str, float]] = self.manifest["statistics"]
        if self.bucket is not None:
            self.bucket.renew(INDEX)
        self.fetch(INDEX)
        check_file(self.path, self.manifest, INDEX)
        self.entries: list[Entry] = read_index(self.path / INDEX)
        if len(self.entries) != self.manifest["samples"]:
            raise ShardError(
                f"{self.path / INDEX} lists {len(self.entries)} samples where the manifest counts"
                f" {self.manifest['samples']}; copy the folder again."
            )
        self._descriptors: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def indices(self, split: str | None = None) -> np.ndarray:
        """Return the sample numbers of a split, int64 in order; None: all but the buffer and duplicates."""
        splits = (split,) if split else SPLITS
        wanted = [i for i, entry in enumerate(self.entries) if entry.split in splits]
        return np.array(wanted, np.int64)

    def find(self, key: str) -> int:
        """Return a sample's number, given its key or that number as text.

        Raises:
            ShardError: there is no such sample; the nearest key is offered.
        """
        keys = [entry.key for entry in self.entries]
        if key in keys:
            return keys.index(key)
        if key.isdigit() and int(key) < len(keys):
            return int(key)
        raise ShardError(f"{self.path} holds no sample {key!r} among its {len(keys)}.{nearest(key, keys)}")

    def fetch(self, name: str) -> Path:
        """Return where a file of the set lies on this machine; of a bucket, it is fetched and verified first.

        Raises:
            ShardError: it cannot be fetched.
        """
        return self.bucket.fetch(name) if self.bucket else self.path / name

    def read(self, index: int) -> Sample:
        """Read and verify one sample.

        Raises:
            ShardError: its bytes are not what was written.
        """
        entry = self.entries[index]
        sensor = self.sensors[entry.sensor]
        groups = {}
        for group in sensor.groups:
            side = entry.side_px * 10 // group.gsd_m
            groups[group.gsd_m] = np.empty((len(group.bands), side, side), np.uint16)
        self.read_into(index, {f"g{gsd_m}.b2nd": pixels for gsd_m, pixels in groups.items()})
        meta = {
            "epsg": entry.epsg,
            "x_m": entry.x_m,
            "y_m": entry.y_m,
            "datetime": entry.datetime,
            "valid_fraction": entry.valid_fraction,
            "cloud_fraction": entry.cloud_fraction,
        }
        return Sample(entry.key, sensor, groups, self.mask(index, "label"), entry.class_index, meta, entry.captions)

    def mask(self, index: int, kind: str) -> np.ndarray | None:
        """Return a sample's ``label`` or ``cloud`` mask, ``(H10, W10)`` uint8, or None when it has none."""
        entry = self.entries[index]
        if f"{kind}.b2nd" not in entry.members:
            return None
        out = np.empty((entry.side_px, entry.side_px), np.uint8)
        self.read_into(index, {f"{kind}.b2nd": out})
        return out

    def values(self, index: int) -> np.ndarray:
        """Return a sample's measured values, ``(H10, W10)`` float32 in the unit of :attr:`quantity`, NaN unknown.

        Raises:
            ShardError: it has none, or its bytes are not what was written.
        """
        out = np.empty((self.entries[index].side_px,) * 2, np.float32)
        self.read_into(index, {VALUES: out})
        return out

    def read_into(self, index: int, outs: Mapping[str, np.ndarray]) -> None:
        """Decode members into arrays (C-contiguous) by suffix and check their sums; neighbours are read at once.

        Raises:
            ShardError: the sample has no such member, or its bytes are not what was written.
        """
        entry = self.entries[index]
        try:
            self._read_into(entry, outs)
        except ShardError:
            if self.bucket is None or not self.bucket.renew(entry.shard):
                raise
            self._read_into(entry, outs)

    def _read_into(self, entry: Entry, outs: Mapping[str, np.ndarray]) -> None:
        where = f"{entry.shard}: {entry.key}"
        for suffix in outs:
            if suffix not in entry.members:
                raise ShardError(f"{where}.{suffix} does not exist; the sample holds {', '.join(entry.members)}.")
        places = [entry.members[suffix] for suffix in outs]
        begin = min(offset for offset, _ in places)
        content = memoryview(self._pread(entry.shard, max(offset + size for offset, size in places) - begin, begin))
        for (suffix, out), (offset, size) in zip(outs.items(), places, strict=True):
            frame, name = content[offset - begin : offset - begin + size], f"{where}.{suffix}"
            if len(frame) != size:
                raise ShardError(f"{name} is cut short ({len(frame)} of {size} bytes); copy {entry.shard} again.")
            decode_into(frame, out, name)
            if checksum(out) != entry.xxh3[suffix]:
                raise ShardError(
                    f"{name} has changed since it was written (its xxh3 differs); copy {entry.shard} again."
                )

    def close(self) -> None:
        """Close the tars."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    @cached_property
    def side_px(self) -> int:
        """The side of every sample in pixels of 10 m."""
        return int(self.manifest["side_px"])

    def _pread(self, shard: str, size: int, offset: int) -> bytes:
        if self.bucket is not None:
            return self.bucket.pread(shard, size, offset)
        return os.pread(self._open(shard), size, offset)

    def _open(self, shard: str) -> int:
        if shard not in self._descriptors:
            try:
                self._descriptors[shard] = os.open(self.path / shard, os.O_RDONLY)
            except OSError as cause:
                raise ShardError(f"{self.path / shard} cannot be opened ({cause.strerror}); copy it again.") from cause
        return self._descriptors[shard]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_descriptors": {}}

    def __del__(self) -> None:
        if hasattr(self, "_descriptors"):
            self.close()
