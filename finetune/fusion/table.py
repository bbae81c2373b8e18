"""The table of a fusion run: every fusion beside its controls, with intervals by block, and the conclusion."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bandloom.command_line.console import table
from bandloom.finetune.fusion.config import FusionConfig
from bandloom.finetune.fusion.model import Kind
from bandloom.finetune.scores.confusion import ConfusionRow, block_confusions, confusion_matrix, scores
from bandloom.scores import ScoreRecord

REAL, SHUFFLED, EMPTY, AT_TEST = "real text", "shuffled text", "empty text", "real text, shuffled at the test"
IMAGE, TEXT = "image only", "text only"
FEWEST_BLOCKS = 8  # below, a draw of blocks repeats itself and its interval is too short


def rows_of(kind: Kind) -> list[str]:
    """Return the rows that a kind's fits give."""
    alone = {"text": [TEXT], "image": [IMAGE]}
    return alone.get(kind) or [f"{kind}, {control}" for control in (REAL, SHUFFLED, EMPTY, AT_TEST)]


def summed_row(
    name: str,
    said: Sequence[np.ndarray],
    truth: np.ndarray,
    blocks: np.ndarray,
    classes: int,
    fitted_on: int,
    seconds: float,
) -> ConfusionRow:
    """Return a row whose confusions are the sum over seeds, so that a draw of blocks draws all seeds of a block."""
    confusions: dict[int, np.ndarray] = {}
    for predicted in said:
        for block, confusion in block_confusions(truth, predicted, blocks, classes).items():
            confusions[block] = confusions.get(block, 0) + confusion
    return ConfusionRow(
        name=name,
        kind="fusion",
        seeds=tuple(range(len(said))),
        confusions=confusions,
        repeats=len(said),
        fitted_on=fitted_on,
        seconds=seconds,
    )


def seed_scores(said: Sequence[np.ndarray], truth: np.ndarray, names: Sequence[str]) -> list[float]:
    """Return the macro-F1 of each seed."""
    return [scores(confusion_matrix(truth, predicted, len(names)), names)["macro_f1"] for predicted in said]


def gains(rows: Mapping[str, ConfusionRow], config: FusionConfig) -> list[dict[str, Any]]:
    """Return, for each way of joining, what real and shuffled words add, with paired 95 % intervals.

    Shuffled words are set beside the same head with nothing to read: another head than the image's may be better by
    itself.
    """
    rows_gained = []
    for kind in config.fusion:
        real, dealt, empty = (rows[f"{kind}, {control}"] for control in (REAL, SHUFFLED, EMPTY))
        pairs = {
            "real over image": (real, rows[IMAGE]),
            "real over shuffled": (real, dealt),
            "shuffled over empty": (dealt, empty),
        }
        scored = {name: _gain(own, other, config.bootstrap) for name, (own, other) in pairs.items()}
        rows_gained.append({"fusion": kind, "blocks": len(real.confusions), **scored})
    return rows_gained


def verdict(gain: Mapping[str, Any], warnings: Sequence[str]) -> str:
    """Return one sentence on what the controls allow to say of a way of joining."""
    if gain["blocks"] < FEWEST_BLOCKS:
        return (
            f"{gain['fusion']}: the test chips lie in {gain['blocks']} blocks, too few for intervals; use a smaller"
            " split.block_m or more ground before you believe a difference"
        )
    kind, real, dealt = gain["fusion"], gain["real over image"], gain["shuffled over empty"]
    if _above(dealt):
        return (
            f"{kind}: shuffled text gains {_said(dealt)} over no text: a leak, or luck in this split; no"
            " gain of real text can be believed"
        )
    if _above(real) and not _above(gain["real over shuffled"]):
        return (
            f"{kind}: context adds {_said(real)} macro-F1 to the image alone, but not surely more than shuffled"
            f" text does ({_said(gain['real over shuffled'])} over it)"
        )
    if not _above(real):
        return f"{kind}: context adds nothing beyond the interval ({_said(real)} macro-F1 over the image alone)"
    sure = "but the context gives the class away, see above" if warnings else "and shuffled text adds nothing"
    return f"{kind}: context adds {_said(real)} macro-F1 to the image alone, {sure}"


def fusion_table(record: ScoreRecord) -> Any:
    """Return the console's table of a run."""
    lines = [
        [
            row.name,
            f"{row.scores['overall']:.3f}",
            f"{row.scores['macro_f1']:.3f}",
            _interval(row.interval_95.get("macro_f1"), ".3f"),
            _interval(row.over_image_95, "+.3f"),
            ", ".join(f"{score:.3f}" for score in row.by_seed.get("macro_f1", ())),
        ]
        for row in record.rows
    ]
    first = record.rows[0]
    title = f"Image and context ({first.scored_on:,} test chips, {len(first.seeds)} seeds)"
    return table(title, ["", "accuracy", "macro-F1", "95 %", "over image only, 95 %", "seeds"], lines)


def _gain(own: ConfusionRow, other: ConfusionRow, draws: int) -> dict[str, Any]:
    ahead = {name: _score(own, name) - _score(other, name) for name in ("macro_f1", "overall")}
    interval = own.margins(other, draws)
    return {name: {"gain": value, "interval_95": interval.get(name, [])} for name, value in ahead.items()}


def _score(row: ConfusionRow, name: str) -> float:
    return scores(row.confusion, [""] * len(row.confusion))[name]


def _above(gain: Mapping[str, Any]) -> bool:
    interval = gain["macro_f1"]["interval_95"]
    return bool(interval) and interval[0] > 0


def _said(gain: Mapping[str, Any]) -> str:
    held = gain["macro_f1"]
    return f"{held['gain']:+.3f} ({_interval(held['interval_95'], '+.3f') or 'no interval'})"


def _interval(held: Sequence[float] | None, form: str) -> str:
    return f"{held[0]:{form}} to {held[1]:{form}}" if held else ""
