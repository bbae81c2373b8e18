"""Where a loader stands: two integers that, with the seed, are the whole state of the data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoaderState:
    """Whole epochs done, and global samples of this epoch done."""

    epoch: int
    position: int


BEGINNING = LoaderState(epoch=0, position=0)
