"""The bundle: the one folder that goes to the GPU box. Written whole or not at all, refused when anything differs."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bandloom.errors import BundleError
from bandloom.export.bundle.record import (
    SCHEMA_VERSION,
    BundleRecord,
    Contract,
    ModelFile,
)

RECORD = "bundle.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose record was read; :func:`verify` tells whether the rest of it fits."""

    path: Path
    record: BundleRecord

    @property
    def contract(self) -> Contract:
        """What the bundle's numbers mean."""
        return self.record.contract

    def model(self, precision: str | None = None) -> ModelFile:
        """Return the model of that precision, or the default one.

        Raises:
            BundleError: the bundle has no such precision; those it has are named.
        """
        try:
            return self.record.model(precision)
        except KeyError:
            have = ", ".join(model.precision for model in self.record.models)
            raise BundleError(
                f"the bundle {self.path} has no {precision} model, only {have}; choose one of these, or export it with"
                f" --precision {precision}."
            ) from None


def sha256_of(path: Path) -> str:
    """Return a file's sha256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(folder: Path, record: BundleRecord) -> None:
    """Write ``bundle.json`` into a folder that holds everything else, with the checksums of what is there."""
    files = {str(p.relative_to(folder)): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    files.pop(RECORD, None)
    sealed = record.with_changes(files=files)
    (folder / RECORD).write_text(json.dumps(sealed.model_dump(mode="json"), indent=1) + "\n")


def read_bundle(path: Path) -> Bundle:
    """Read a bundle's record.

    Raises:
        BundleError: the folder is no bundle, or its record is damaged or of another version.
    """
    try:
        record = json.loads((path / RECORD).read_text())
    except (OSError, ValueError) as cause:
        raise BundleError(
            f"{path} is no bundle: its {RECORD} cannot be read ({cause}); pass a folder made by bandloom export."
        ) from cause
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path / RECORD} is of version {version}, this program reads {SCHEMA_VERSION}; export the bundle anew."
        )
    try:
        return Bundle(path, BundleRecord.model_validate(record))
    except ValidationError as cause:
        first = cause.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path / RECORD} was edited: {key}: {first['msg']}; copy the bundle again.") from cause
