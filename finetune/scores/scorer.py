"""The scorer interface of a task: calibrates a model, evaluates a role, and scores other networks beside it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.row import Row
from bandloom.finetune.scores.scoring import Seen


class Look(Protocol):
    """One look at the labels of a role."""

    @property
    def row(self) -> Row:
        """The scored row."""
        ...

    @property
    def table(self) -> Sequence[dict[str, Any]]:
        """Every prediction, a row each."""
        ...

    def calibration(self) -> dict[str, Any] | None:
        """Return how far confidence can be believed as plain JSON types; None where answers have none."""
        ...


class Scorer(Protocol):
    """How a task's answers are scored, and which of the scores are shown."""

    @property
    def headlines(self) -> tuple[str, ...]:
        """The names of all scores of a row."""
        ...

    @property
    def main(self) -> str:
        """The score that a row is given by where there is room for one; its interval is shown."""
        ...

    @property
    def table(self) -> tuple[str, ...]:
        """The scores of the console's table."""
        ...

    @property
    def class_table(self) -> tuple[str, ...]:
        """The scores of a class; empty where there are no classes."""
        ...

    @property
    def curve(self) -> Mapping[str, str]:
        """The keys of a learning curve's point and the scores behind them; empty: no curve."""
        ...

    def calibrate(self, model: TaskModel, data: TaskData, batch_size: int) -> Row:
        """Fit temperature and thresholds on validation labels, into the model; returns its row on them."""
        ...

    def look(self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int) -> Look:
        """Look at every label of a role with a calibrated model."""
        ...

    def other(self, name: str, model: TaskModel, data: TaskData, batch_size: int) -> Row:
        """Return another network's row on the test labels, its thresholds tuned as the model's own."""
        ...

    def shown(
        self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int, seen: Seen | None = None
    ) -> Row:
        """Return the row of a model on a role, shown a part of each sample."""
        ...

    def kept_by(self, look: Any, first: Any) -> float | None:
        """Return what a step of training is kept by on validation ground; larger is better.

        Args:
            look: at the step's model.
            first: the row of the model that training started from.

        Returns:
            None where the step is not to be kept.
        """
        ...

    def extras(self, row: Any, data: TaskData) -> dict[str, Any]:
        """Return what a record holds of the first row beside its scores, as plain JSON types."""
        ...
