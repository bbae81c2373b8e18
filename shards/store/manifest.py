"""The manifest of a shard folder: written last, with a checksum of every other file and of itself."""

import hashlib
import json
from pathlib import Path
from typing import Any

from bandloom.errors import ShardError
from bandloom.files.output import write_json
from bandloom.shards.store.index import FORMAT_VERSION, MANIFEST
from bandloom.shards.store.tar_file import file_sha256

_SEALED_SINCE = 2  # the first version whose manifest carries a seal


def write_manifest(folder: Path, record: dict[str, Any]) -> None:
    """Write ``record`` with the sha256 of every file that lies in ``folder``, and its own seal."""
    record = record | {"format": "bandloom-shards", "version": FORMAT_VERSION}
    names = (p.name for p in sorted(folder.iterdir()) if p.is_file() and not _is_work(p) and p.name != MANIFEST)
    tars = {tar["tar"] for tar in record["shards"]}
    record["files"] = {name: file_sha256(folder / name) for name in names if name not in tars}
    plain = json.loads(json.dumps(record))
    write_json(folder / MANIFEST, plain | {"seal": _seal(plain)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest.

    Raises:
        ShardError: there is none, it has another format, or it is not what was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ShardError(
            f"{folder} holds no {MANIFEST}, so it is no finished shard folder; build it with bandloom shards build."
        )
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise ShardError(f"{path} cannot be read ({cause.strerror}); copy the folder again.") from cause
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, path: str) -> dict[str, Any]:
    """Return the manifest that ``content`` holds; ``path`` is where it came from.

    Raises:
        ShardError: it has another format, or it is not what was written.
    """
    try:
        manifest = json.loads(content)
        if manifest["format"] != "bandloom-shards" or not 1 <= manifest["version"] <= FORMAT_VERSION:
            raise ShardError(
                f"{path} has format {manifest['format']} {manifest['version']}; expected {FORMAT_VERSION} or less."
            )
        seal = manifest.pop("seal", None)
        if (seal is not None or manifest["version"] >= _SEALED_SINCE) and seal != _seal(manifest):
            raise ShardError(f"{path} has changed since it was written (its seal differs); copy the folder again.")
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise ShardError(f"{path} is damaged ({cause!r}); copy the folder again.") from cause
    return manifest


def check_file(folder: Path, manifest: dict[str, Any], name: str) -> None:
    """Compare a file beside the tars with what the manifest says of it; version 1 says nothing.

    Raises:
        ShardError: it is missing or has changed.
    """
    wanted = manifest.get("files", {}).get(name)
    if wanted is None:
        return
    try:
        digest = file_sha256(folder / name)
    except OSError as cause:
        raise ShardError(f"{folder / name} cannot be read ({cause.strerror}); copy it again.") from cause
    if digest != wanted:
        raise ShardError(f"{folder / name} has changed since it was written (its sha256 differs); copy it again.")


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _is_work(path: Path) -> bool:
    """Tell whether a file is the build's own and goes when it ends."""
    return path.name.startswith((".", "journal-")) or path.name == "plan.json"
