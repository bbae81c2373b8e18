"""Scores of one class a label, a pixel's or a chip's: confusion by block, calibrated by a temperature."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bandloom.block_scores import macro_f1
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, VAL
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.calibration import best_likelihood, fit_temperature
from bandloom.finetune.scores.confusion import HEADLINES, ConfusionRow, top_confusions
from bandloom.finetune.scores.evaluation import Evaluation, evaluate
from bandloom.finetune.scores.scoring import Seen, score_model
from bandloom.run_state.pulse import alive
from bandloom.scores import MODEL_ROW

DRAWS = 200  # of blocks


@dataclass(frozen=True)
class ClassScorer:
    """Scores a model that says one class a pixel or a chip."""

    headlines: tuple[str, ...] = HEADLINES
    main: str = "macro_f1"
    table: tuple[str, ...] = ("overall", "macro_f1", "mean_iou")
    class_table: tuple[str, ...] = ("precision", "recall", "f1", "iou")
    curve: Mapping[str, str] = field(
        default_factory=lambda: {"validation_macro_f1": "macro_f1", "validation_overall": "overall"}
    )

    def calibrate(self, model: TaskModel, data: TaskData, batch_size: int) -> ConfusionRow:
        """Fit the temperature on validation labels; returns the model's row on them."""
        look = evaluate(MODEL_ROW, model, data, VAL, batch_size=batch_size)
        model.temperature = alive(lambda: fit_temperature(look.logits, look.labels), "calibration")
        return look.row

    def look(self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int) -> Evaluation:
        """Look at every label of a role, at the model's temperature."""
        return evaluate(name, model, data, role, batch_size=batch_size, temperature=model.temperature)

    def other(self, name: str, model: TaskModel, data: TaskData, batch_size: int) -> ConfusionRow:
        """Return another network's row on the test labels; a temperature would change no class."""
        return score_model(name, model, data, TEST, batch_size)

    def shown(
        self, name: str, model: TaskModel, data: TaskData, role: int, batch_size: int, seen: Seen | None = None
    ) -> ConfusionRow:
        """Return the row of a model on a role, shown a part of each sample."""
        return score_model(name, model, data, role, batch_size, seen)

    def kept_by(self, look: Evaluation, first: ConfusionRow) -> float | None:
        """Return the mean log likelihood at the best temperature: of few labels it tells more than their classes do.

        Where macro-F1 has fallen behind what training started from, the step is not kept however likely its labels are.
        """
        if not len(look.labels) or fell_behind(look.row, first):
            return None
        return alive(lambda: best_likelihood(look.logits, look.labels), "calibration")

    def extras(self, row: Any, data: TaskData) -> dict[str, Any]:
        """Return the confusion matrix and the commonest mistakes."""
        names = data.label_set.names
        return {"confusion": row.confusion.tolist(), "top_confusions": top_confusions(row.confusion, names)}


def fell_behind(row: ConfusionRow, first: ConfusionRow) -> bool:
    """Tell whether macro-F1 is below another row's with the whole 95 % interval of their difference by block.

    Within one block nothing says how far chance goes, and any fall counts.
    """
    margin = row.margins(first, DRAWS).get("macro_f1")
    return bool(macro_f1(row.confusion) < macro_f1(first.confusion)) if margin is None else margin[1] < 0
