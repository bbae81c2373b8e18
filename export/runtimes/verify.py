"""Verifies a bundle: every file, the meaning of its record, and its golden chips on a runtime of this machine."""

from bandloom.errors import BundleError
from bandloom.export.bundle.answers import check_thresholds
from bandloom.export.bundle.bundle import RECORD, Bundle, sha256_of
from bandloom.export.bundle.golden import GOLDEN, read_golden
from bandloom.export.bundle.record import (
    ValueConvention,
    group_records,
)
from bandloom.export.runtimes.choose import load_runner
from bandloom.export.runtimes.onnx_runner import Runner


def verify(bundle: Bundle, precision: str | None = None, *, threads: int = 0, runtime: str = "auto") -> Runner:
    """Check everything that can differ, replay the golden chips, and return the runner that answered rightly.

    Args:
        bundle: what :func:`read_bundle` returned.
        precision: the model to load; None is the default one.
        threads: threads of the runtime, 0 for its own choice.
        runtime: ``auto`` or one of :data:`bandloom.export.runtimes.choose.RUNTIMES`.

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
    for needed in (GOLDEN, *(file.file for file in (*bundle.record.models, *bundle.record.engines, *features))):
        if needed not in listed:
            raise BundleError(f"{bundle.path / RECORD} lists no checksum of {needed}; copy the bundle again.")
    there = {str(p.relative_to(bundle.path)) for p in bundle.path.rglob("*") if p.is_file()} - {RECORD}
    for name in sorted(listed.keys() | there):
        if name not in there:
            raise BundleError(f"the bundle {bundle.path} lacks {name}; copy it again.")
        if name not in listed:
            raise BundleError(f"the bundle {bundle.path} holds {name}, which its record does not list; remove it.")
        digest = sha256_of(bundle.path / name)
        if digest != listed[name]:
            raise BundleError(
                f"{bundle.path / name} was changed: its sha256 begins {digest[:12]}, the record says"
                f" {listed[name][:12]}; copy the bundle again."
            )


def check_meaning(bundle: Bundle) -> None:
    """Check that the record means what the golden chips and this program mean.

    Raises:
        BundleError: the first entry that differs.
    """
    contract = bundle.contract
    stored = read_golden(bundle.path / GOLDEN).contract
    for key, value in contract.to_dict().items():
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
