"""Fetches a public encoder from its authors' repository: the commit pinned, every file's sha256 compared."""

import hashlib
import json
import re
from pathlib import Path

from bandloom.command_line.console import logger
from bandloom.errors import CheckpointError, MissingExtraError
from bandloom.files.output import disk_refusal, new_output
from bandloom.public_encoders.family import Download, Family
from bandloom.public_encoders.load import ORIGIN


def fetch_encoder(family: Family, size: str, to: Path, revision: str | None = None) -> Path:
    """Fetch one size into a new folder, whole or not at all, with ``origin.json`` beside it.

    Args:
        family: its record.
        size: one of the record's.
        to: the new folder.
        revision: commit of 40 hexadecimal digits; None: the record's, or the newest where every sha256 is known.

    Raises:
        CheckpointError: the size is not known, nothing pins its content, or a file is another than the record's.
    """
    if size not in family.sizes:
        raise CheckpointError(f"{family.family} has no size {size!r}; use one of {', '.join(family.sizes)}.")
    download = family.sizes[size]
    revision = revision or download.revision
    _require_pin(family, size, download, revision)
    with new_output(to, folder=True) as temporary:
        fetched = {name: _fetch(download, name, revision, temporary) for name in download.files}
        record = {
            "family": family.family,
            "size": size,
            "repository": download.repository,
            "revision": revision,
            "sha256": fetched,
            "licence": family.licence.model_dump(),
        }
        (temporary / ORIGIN).write_text(json.dumps(record, indent=1) + "\n")
    return to


def check_files(folder: Path, family: Family) -> dict[str, str]:
    """Return for every file of the record what its sha256 says: the size it is of, ``not known``, or ``absent``.

    Args:
        folder: that holds the files.
        family: whose record names them.
    """
    digests = {}
    names = {name: None for download in family.sizes.values() for name in download.files}
    here = [name for name in names if (folder / name).is_file()]
    # sizes of a family bear one set of names, or each its own
    own = next((set(size.files) for size in family.sizes.values() if set(here) & set(size.files)), set(names))
    for name in (name for name in names if name in own or name in here):
        if name not in here:
            digests[name] = "absent"
            continue
        digest = sha256_of(folder / name)
        sizes = [size for size, version in family.sizes.items() if version.files.get(name) == digest]
        digests[name] = f"the record's {sizes[0]}" if sizes else "not known to the record"
    return digests


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_pin(family: Family, size: str, download: Download, revision: str | None) -> None:
    if revision is not None and not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise CheckpointError(f"the revision is {revision!r}; give a commit of 40 hexadecimal digits.")
    unknown = [name for name, digest in download.files.items() if digest is None]
    if revision is None and unknown:
        raise CheckpointError(
            f"nothing pins what {', '.join(unknown)} of {family.family} {size} is: the record knows no sha256; look at"
            f" https://huggingface.co/{download.repository} and name a commit with --revision."
        )


def _fetch(download: Download, name: str, revision: str | None, folder: Path) -> str:
    """Fetch one file, compare it with the record, and return its sha256."""
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError as cause:
        raise MissingExtraError("huggingface_hub", "train") from cause
    inside = f"{download.folder}/{name}" if download.folder else name
    logger.info("fetching %s of %s", inside, download.repository)
    try:
        cached = hf_hub_download(download.repository, inside, revision=revision)
    except Exception as cause:
        if (refused := disk_refusal(folder / name, cause)) is not None:
            raise refused from cause
        raise CheckpointError(
            f"{inside} of {download.repository} cannot be fetched ({cause}); check network and revision, or copy the"
            " files into a folder by hand."
        ) from cause
    target = folder / name
    target.write_bytes(Path(cached).read_bytes())
    digest, wanted = sha256_of(target), download.files[name]
    if wanted is not None and digest != wanted:
        raise CheckpointError(
            f"{inside} of {download.repository} has the sha256 {digest}, the record expects {wanted}; nothing was kept."
            " The file changed: name the commit that you trust with --revision, or use a newer bandloom."
        )
    return digest
