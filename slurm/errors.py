"""Errors of this room."""

from bandloom.errors import BandloomError


class SlurmError(BandloomError):
    """A job that should not be submitted as it is, or a cluster that does not answer."""


class SlurmRefusedError(SlurmError):
    """Slurm itself said no; the command line exits with 3."""
