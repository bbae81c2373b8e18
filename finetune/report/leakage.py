"""Leakage of a random split: one baseline, fitted and scored under random and under spatial roles."""

from typing import Any

from bandloom.errors import BandloomError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.experiment import open_data
from bandloom.finetune.tasks.registry import get_task


def leakage_gap(config: FinetuneConfig) -> dict[str, Any] | None:
    """Return a forest's macro-F1 under a random split, under blocks, and the gap; None where blocks cannot be made.

    What the forest gains by the random split alone it has read off its test pixels' neighbours.
    """
    task, gap = get_task(config.task), {}
    if task.leakage is None:
        return None
    for kind in ("random", "block"):
        try:
            data = open_data(config.with_changes(split=config.split.with_changes(kind=kind)))
            data.check()
        except BandloomError:
            return None
        (row,) = task.run_baselines([task.leakage], data, config.trainer.seed, task.baselines)
        gap[kind] = row.scores(data.label_set.names)["macro_f1"]
    return {"baseline": task.leakage, **gap, "gap": gap["random"] - gap["block"]}


def leakage_line(gap: dict[str, Any]) -> str:
    """Return one sentence on the gap."""
    return (
        f"leakage: {gap['baseline']} reaches a macro-F1 of {gap['random']:.3f} on this random split and"
        f" {gap['block']:.3f} on blocks; {gap['gap']:+.3f} is what neighbours give away"
    )
