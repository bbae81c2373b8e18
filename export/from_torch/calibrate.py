"""Calibration of an ensemble: one temperature fitted on the validation labels of its members' common split."""

from collections.abc import Mapping, Sequence
from typing import Any

from bandloom.command_line.console import logger
from bandloom.errors import BandloomError
from bandloom.export.from_torch.ensemble import Ensemble
from bandloom.export.from_torch.held_chips import Ground

BATCH = 8


def calibrate(ensemble: Ensemble, ground: Ground, provenances: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Fit the ensemble's temperature (and thresholds) and check it on test labels.

    Where the shards are gone, or members were trained under different splits, so that one's validation ground is
    another's training ground, the temperature stays 1, with a warning.

    Args:
        ensemble: changed in place.
        ground: of the first member's run.
        provenances: of every member.

    Returns:
        Temperature and expected calibration errors before and after on test labels, as plain JSON types, or None.
    """
    why = _reason_against(ground, provenances)
    if why is None:
        try:
            return _fitted(ensemble, ground)
        except (BandloomError, ValueError) as cause:
            why = str(cause).rstrip(".")
    logger.warning("the ensemble's probabilities are the plain mean of its members': %s", why)
    return None


def _reason_against(ground: Ground, provenances: Sequence[Mapping[str, Any]]) -> str | None:
    if ground.shards is None or not ground.config:
        return "the run's shards are not there to fit a temperature on; name them with --shards"
    splits = {provenance["training"].get("split_hash") for provenance in provenances}
    if len(splits) > 1:
        return "its members were trained under different splits, which share no validation ground"
    return None


def _fitted(ensemble: Ensemble, ground: Ground) -> dict[str, Any] | None:
    from bandloom.finetune.config import FinetuneConfig
    from bandloom.finetune.data.splits import TEST, VAL
    from bandloom.finetune.experiment import open_data
    from bandloom.finetune.tasks.registry import get_task
    from bandloom.scores import MODEL_ROW

    data = open_data(FinetuneConfig(**{**(ground.config or {}), "shards": ground.shards}))
    scorer, model = get_task(ensemble.task).scorer, _as_model(ensemble)
    if not len(data.indices_of(VAL)):
        raise ValueError("the split has no validation ground to fit a temperature on")
    scorer.calibrate(model, data, BATCH)
    checked = scorer.look(MODEL_ROW, model, data, TEST, BATCH) if len(data.indices_of(TEST)) else None
    calibration = None if checked is None else checked.calibration()
    if calibration is None:
        return None
    errors = {key: float(calibration[key]["error"]) for key in ("before", "after")}
    logger.info(
        "the ensemble's temperature is %.3f; its calibration error on test labels is %.3f, without it %.3f",
        ensemble.temperature,
        errors["after"],
        errors["before"],
    )
    return {"temperature": ensemble.temperature, **{f"test_error_{key}": error for key, error in errors.items()}}


def _as_model(ensemble: Ensemble) -> Any:
    return ensemble.eval()
