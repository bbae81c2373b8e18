"""Claims of maps: one writer a map and what lies beside it, who first tidies up what a killed one left."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from bandloom.errors import OutputError
from bandloom.export.bundle.bundle import RECORD
from bandloom.export.predict.partial_map import partial_folder
from bandloom.files.output import sole_writer
from bandloom.files.output_lock import lock_of


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Be the only process that writes ``out`` and what lies beside it, as long as the block runs.

    Raises:
        BusyOutputError: another process is writing it.
        OutputError: ``out`` exists, its folder cannot be written, or is a bundle, whose files are sealed.
    """
    if (out.parent / RECORD).is_file():
        raise OutputError(f"{out} would lie among the files of the bundle {out.parent}; choose another --out.")
    with sole_writer(out, tidy=lambda: _tidy_finished(out)):
        yield


def tidy(out: Path) -> None:
    """Remove what a killed process left beside a finished output, unless another is at work there."""
    if lock_of(out).exists() or partial_folder(out).exists():
        with contextlib.suppress(OutputError), claimed(out):
            pass


def _tidy_finished(out: Path) -> None:
    if out.is_file():  # whoever made it may have been killed before it had tidied up
        shutil.rmtree(partial_folder(out), ignore_errors=True)
