"""Exceptions for user errors: one sentence with the fix, which the command line prints before it exits with 2."""

from collections.abc import Iterable
from difflib import get_close_matches


class BandloomError(Exception):
    """A mistake the user can mend: the message says what is wrong, what was expected and the one edit that helps."""


class ConfigError(BandloomError):
    """A config file or a command-line override that cannot be used."""


class SensorError(BandloomError):
    """A sensor, band or unit that is not known; never guessed."""


class SceneError(BandloomError):
    """A scene or chip that cannot be read as what it claims to be."""


class ShardError(BandloomError):
    """Shards that are missing, damaged or do not fit what reads them."""


class LabelError(BandloomError):
    """Labels that do not fit their pixels or their label set."""


class CheckpointError(BandloomError):
    """A checkpoint that is missing, damaged or made for something else."""


class BundleError(BandloomError):
    """A bundle that is missing, damaged, edited, or not what its parity report says."""


class RunFolderError(BandloomError):
    """A run folder that another attempt owns, or that holds something else."""


class TrainingError(BandloomError):
    """A training run that cannot go on, such as losses that stay infinite."""


class OutputError(BandloomError):
    """An output that exists already, or that cannot be written."""


class BusyOutputError(OutputError):
    """An output that another process is writing at the moment."""


class MissingExtraError(BandloomError):
    """A feature whose optional dependencies are not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} is not installed; install it with: pip install 'bandloom[{extra}]'.")


class TextError(BandloomError):
    """A text model, a caption, a prompt or an index that cannot be used as asked."""


class SlurmError(BandloomError):
    """A job that should not be submitted as it is, or a cluster that does not answer."""


class SlurmRefusedError(SlurmError):
    """Slurm itself said no; the command line exits with 3."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or an empty string when nothing is close."""
    match = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""


def said(cause: BaseException, most: int = 160) -> str:
    """Return what a library's error says in one line of at most ``most`` letters, or its kind where it says nothing."""
    return " ".join(str(cause).split())[:most] or type(cause).__name__
