"""``bandloom shards verify``: every file's sha256, and with --deep every array's xxh3 and every sidecar."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from bandloom.command_line.console import track
from bandloom.errors import ShardError
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.store.manifest import check_file
from bandloom.shards.store.tar_file import file_sha256


def verify(path: str | Path, deep: bool = False) -> list[str]:
    """Return what is wrong with a shard folder, a sentence each; an empty list is a clean bill.

    Args:
        path: the folder.
        deep: also decode every member of every sample and compare its checksum and its JSON sidecar.

    Raises:
        ShardError: it is no shard folder at all.
    """
    shards = ShardSet(path)
    problems = [*_tar_problems(shards), *_file_problems(shards)]
    known = {tar["tar"] for tar in shards.manifest["shards"]}
    problems += [
        f"{p.name} is not in the manifest; remove it." for p in sorted(shards.path.glob("*.tar")) if p.name not in known
    ]
    problems += [
        f"{e.key} lies in {e.shard}, which the manifest lacks." for e in shards.entries if e.shard not in known
    ]
    if deep:
        for index in track(range(len(shards)), "samples"):
            problems += _sample_problems(shards, index)
    return problems


def _tar_problems(shards: ShardSet) -> Iterator[str]:
    for tar in track(shards.manifest["shards"], "tars"):
        if shards.bucket is not None:
            yield from _fetch_problem(shards, tar["tar"])
            continue
        path = shards.path / tar["tar"]
        if not path.is_file():
            yield f"{path} is missing; copy it again."
        elif path.stat().st_size != tar["bytes"]:
            yield f"{path} has {path.stat().st_size} bytes; expected {tar['bytes']}: copy it again."
        elif file_sha256(path) != tar["sha256"]:
            yield f"{path} has changed since it was written (its sha256 differs); copy it again."


def _fetch_problem(shards: ShardSet, name: str) -> Iterator[str]:
    """Fetch a tar from its bucket: what arrives is held against the manifest."""
    try:
        shards.fetch(name)
    except ShardError as error:
        yield str(error)


def _file_problems(shards: ShardSet) -> Iterator[str]:
    """Check the indexes and histograms beside the tars, and the list of what failed."""
    for name in shards.manifest.get("files", {}):
        try:
            shards.fetch(name)
            check_file(shards.path, shards.manifest, name)
        except ShardError as error:
            yield str(error)


def _sample_problems(shards: ShardSet, index: int) -> Iterator[str]:
    entry = shards.entries[index]
    try:
        shards.read(index)
        shards.mask(index, "cloud")
        offset, size = entry.members["json"]
        with shards.fetch(entry.shard).open("rb") as tar:
            sidecar = json.loads(os.pread(tar.fileno(), size, offset))
        if sidecar["key"] != entry.key or sidecar["xxh3"] != entry.xxh3:
            yield f"{entry.shard}: {entry.key}.json is not this sample's; rebuild or copy the shard."
    except ShardError as error:
        yield str(error)
    except (OSError, ValueError, KeyError) as cause:
        yield f"{entry.shard}: {entry.key}.json cannot be read ({cause!r}); rebuild or copy the shard."
