"""How much a random split flatters: the same floor, fitted and scored under random and under spatial roles."""

from typing import Any

from bandloom.errors import BandloomError
from bandloom.finetune.baselines.classic import run_baselines
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.scores.confusion import scores
from bandloom.finetune.setting import open_data

FLOOR = {"segment": "context_rf", "classify": "stats_rf", "change": "pair_rf"}


def leakage_gap(config: FinetuneConfig) -> dict[str, Any] | None:
    """Return a forest's macro-F1 under a random split, under blocks, and the gap; None where blocks cannot be made.

    What the forest gains by the random split alone it has read off its test pixels' neighbours.
    """
    found = {}
    for kind in ("random", "block"):
        try:
            data = open_data(config.with_changes(split=config.split.with_changes(kind=kind)))
            data.check()
        except BandloomError:
            return None
        (row,) = run_baselines([FLOOR[config.task]], data, config.trainer.seed)
        found[kind] = scores(row.confusion, data.label_set.names)["macro_f1"]
    return {"floor": FLOOR[config.task], **found, "gap": found["random"] - found["block"]}


def leakage_line(found: dict[str, Any]) -> str:
    """Return one sentence on the gap."""
    return (
        f"leakage: {found['floor']} reaches a macro-F1 of {found['random']:.3f} on this random split and"
        f" {found['block']:.3f} on blocks; {found['gap']:+.3f} is what neighbours give away"
    )
