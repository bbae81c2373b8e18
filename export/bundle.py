"""The bundle: the one folder that goes to the GPU box. Written whole or not at all, refused when anything differs."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bandloom.errors import BundleError
from export.answers import check_thresholds
from export.golden import GOLDEN, read_golden
from export.record import SCHEMA_VERSION, BundleRecord, Contract, ModelFile, ValueConvention, group_records
from export.runner import Runner
from export.runtimes import load_runner

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
            have = ", ".join(each.precision for each in self.record.models)
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


def verify(bundle: Bundle, precision: str | None = None, *, threads: int = 0, runtime: str = "auto") -> Runner:
    """Check everything that can differ, replay the golden chips, and return the runner that answered rightly.

    Args:
        bundle: what :func:`read_bundle` returned.
        precision: the model to load; None is the default one.
        threads: threads of the runtime, 0 for its own choice.
        runtime: ``auto`` or one of :data:`export.runtimes.RUNTIMES`.

    Raises:
        BundleError: the first thing that differs.
    """
    check_files(bundle)
    check_meaning(bundle)
    return load_runner(bundle, precision, runtime=runtime, threads=threads)


def check_files(bundle: Bundle) -> None:
    """Check that exactly the recorded files are there, byte for byte.

    Raises:
        BundleError: the first file that is missing, changed or not in the record.
    """
    listed = bundle.record.files
    features = [bundle.record.features] if bundle.record.features else []
    for needed in (GOLDEN, *(each.file for each in (*bundle.record.models, *bundle.record.engines, *features))):
        if needed not in listed:
            raise BundleError(f"{bundle.path / RECORD} lists no checksum of {needed}; copy the bundle again.")
    there = {str(p.relative_to(bundle.path)) for p in bundle.path.rglob("*") if p.is_file()} - {RECORD}
    for name in sorted(listed.keys() | there):
        if name not in there:
            raise BundleError(f"the bundle {bundle.path} lacks {name}; copy it again.")
        if name not in listed:
            raise BundleError(f"the bundle {bundle.path} holds {name}, which its record does not list; remove it.")
        found = sha256_of(bundle.path / name)
        if found != listed[name]:
            raise BundleError(
                f"{bundle.path / name} was changed: its sha256 begins {found[:12]}, the record says"
                f" {listed[name][:12]}; copy the bundle again."
            )


def check_meaning(bundle: Bundle) -> None:
    """Check that the record means what the golden chips and this program mean.

    Raises:
        BundleError: the first entry that differs.
    """
    contract = bundle.contract
    stored = read_golden(bundle.path / GOLDEN).contract
    for key, value in contract.model_dump(mode="json").items():
        if stored.get(key) != value:
            raise BundleError(
                f"{bundle.path / RECORD} was edited: its {key} differs from what {GOLDEN} was made with; copy the"
                " bundle again."
            )
    if contract.values != ValueConvention():
        raise BundleError(
            f"the bundle {bundle.path} stores samples as {contract.values.model_dump()}, this program as"
            f" {ValueConvention().model_dump()}; export it anew."
        )
    if group_records(contract.get_sensor(), contract.task) != contract.groups:
        raise BundleError(f"{bundle.path / RECORD}: its groups are not those of its sensor; export it anew.")
    classes = len(contract.get_label_set())  # checks itself, and so does the tiling
    _ = contract.tiling
    check_thresholds(contract.thresholds, classes)
