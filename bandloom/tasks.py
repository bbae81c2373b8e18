"""The answer of each task: a class a pixel or a chip, several classes, what changed, or a value in its unit."""

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["segment", "classify", "multilabel", "change", "regress", "regress_chips"]


@dataclass(frozen=True)
class Answer:
    """The form of a task's answer: what training, bundles, maps and pages need to know of a task, without torch.

    Args:
        task: its name.
        what: what a model gives, for a model card.
        per_pixel: one answer for every 10 m pixel, rather than one for every chip.
        several: any number of classes at once, each with a probability of its own.
        dates: how many dates of the same ground go in, the earlier one's bands first in every group.
        continuous: a value in the unit of a quantity, rather than classes.
    """

    task: TaskName
    what: str
    per_pixel: bool
    several: bool = False
    dates: int = 1
    continuous: bool = False

    @property
    def one_a_chip(self) -> bool:
        """Whether every chip is of one class."""
        return not (self.per_pixel or self.several or self.continuous)


_ANSWERS = (
    Answer("segment", "a class for every 10 m pixel", per_pixel=True),
    Answer("classify", "a class for every chip", per_pixel=False),
    Answer("multilabel", "any number of classes for every chip", per_pixel=False, several=True),
    Answer("change", "for every 10 m pixel of two dates, what changed", per_pixel=True, dates=2),
    Answer("regress", "a value for every 10 m pixel", per_pixel=True, continuous=True),
    Answer("regress_chips", "a value for every chip", per_pixel=False, continuous=True),
)
ANSWERS: dict[str, Answer] = {answer.task: answer for answer in _ANSWERS}
