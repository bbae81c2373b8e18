"""Repacks shards with another codec: every array verified, encoded again, and indexed in tars of the same names."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np

from bandloom.command_line.console import track
from bandloom.errors import ShardError
from bandloom.files.output import new_output, sync
from bandloom.run_state.trained_on import content_of
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.store.codec import CODECS, CodecName, checksum, encode
from bandloom.shards.store.index import INDEX, Entry, write_index
from bandloom.shards.store.manifest import write_manifest
from bandloom.shards.store.tar_file import TarFile, file_sha256


def repack(path: Path, out: Path, codec: str) -> tuple[int, int]:
    """Write the samples of ``path`` to ``out`` with another codec; return the bytes of the tars before and after.

    Raises:
        ShardError: the codec is not known, or a sample is not what was written.
        OutputError: ``out`` exists or cannot be written.
    """
    if codec not in CODECS:
        raise ShardError(f"--codec {codec!r} is not known; use one of {', '.join(CODECS)}.")
    shards = ShardSet(path)
    by_tar: dict[str, list[Entry]] = {tar["tar"]: [] for tar in shards.manifest["shards"]}
    for entry in shards.entries:
        by_tar[entry.shard].append(entry)
    with new_output(out, folder=True) as folder:
        tars, moved = [], {}
        for name in track(by_tar, "tars"):
            record, entries = _repack_tar(shards, name, by_tar[name], folder, codec)  # pyright: ignore[reportArgumentType]
            tars.append(record)
            moved.update({entry.key: entry for entry in entries})
        write_index(folder / INDEX, [moved[entry.key] for entry in shards.entries])
        for name in _kept_files(shards):
            shutil.copy(shards.fetch(name), folder)
        options = shards.manifest["options"] | {"codec": codec}
        content = content_of(shards.manifest)
        same = {"content": content} if content else {}
        write_manifest(folder, shards.manifest | {"shards": tars, "options": options} | same)
        sync(folder)
    return sum(tar["bytes"] for tar in shards.manifest["shards"]), sum(tar["bytes"] for tar in tars)


def _kept_files(shards: ShardSet) -> list[str]:
    """Return the names of what lies beside the tars and does not depend on the codec."""
    names = shards.manifest["files"] if shards.bucket else [file.name for file in sorted(shards.path.iterdir())]
    return [name for name in names if name.endswith(("histograms.npz", "quarantine.jsonl"))]


def _repack_tar(
    shards: ShardSet, name: str, entries: list[Entry], folder: Path, codec: CodecName
) -> tuple[dict[str, object], list[Entry]]:
    tar, moved = TarFile(folder / name), []
    try:
        with shards.fetch(name).open("rb") as source:
            for entry in entries:
                members = _encoded(source.fileno(), entry, codec)
                places = {suffix: tar.add(f"{entry.key}.{suffix}", content) for suffix, content in members}
                moved.append(replace(entry, members=places))
    except BaseException:
        tar.abandon()
        raise
    size = tar.close()
    write_index(folder / f"{name.removesuffix('.tar')}.index.jsonl", [replace(entry, split="") for entry in moved])
    record = {"tar": name, "bytes": size, "samples": len(moved), "sha256": file_sha256(folder / name)}
    return record, moved


def _encoded(descriptor: int, entry: Entry, codec: CodecName) -> Iterator[tuple[str, bytes]]:
    """Yield a sample's members with their arrays verified and encoded again."""
    for suffix, (offset, size) in entry.members.items():
        content = os.pread(descriptor, size, offset)
        if suffix.endswith(".b2nd"):
            content = encode(_decode(content, entry, suffix), codec)
        elif suffix == "json":
            _check_sidecar(content, entry)
        yield suffix, content


def _decode(content: bytes, entry: Entry, suffix: str) -> np.ndarray:
    where = f"{entry.shard}: {entry.key}.{suffix}"
    try:
        pixels = np.asarray(blosc2.ndarray_from_cframe(content)[:])
    except (RuntimeError, ValueError, TypeError, IndexError) as cause:
        raise ShardError(f"{where} cannot be decompressed ({cause}); copy {entry.shard} again.") from cause
    if checksum(pixels) != entry.xxh3[suffix]:
        raise ShardError(f"{where} has changed since it was written; copy it again.")
    return pixels


def _check_sidecar(content: bytes, entry: Entry) -> None:
    try:
        told = json.loads(content)["xxh3"]
    except (ValueError, KeyError, TypeError) as cause:
        raise ShardError(f"{entry.shard}: {entry.key}.json cannot be read ({cause!r}); copy it again.") from cause
    if told != entry.xxh3:
        raise ShardError(f"{entry.shard}: {entry.key}.json is not this sample's; copy it again.")
