"""Runs a trainer slowly, with a fault planted at a step: SLOW=SECONDS a step; FAULT=crash:RANK@STEP or hang:RANK@STEP
strikes in the first attempt alone, always-crash:RANK@STEP in every one. START=SECONDS: how long the first takes to
begin.

    python faulty.py toy CONFIG --out RUN      the toy trainer
    python faulty.py VERB ...                  anything bandloom does
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bandloom.run_state.markers import RunMarkers


def plant(slow_s: float, fault: str) -> None:
    """Put the fault where every trainer comes by after each step: its heartbeat."""
    kind, _, place = fault.removeprefix("always-").partition(":")
    rank, at = (int(part) for part in place.split("@")) if place else (-1, -1)
    first = os.environ.get("BANDLOOM_ATTEMPT", "").endswith(".0")
    strikes = os.environ.get("RANK") == str(rank) and (first or fault.startswith("always-"))
    beat = RunMarkers.beat

    def slow_beat(self: RunMarkers, step: int, *arguments: Any, **named: Any) -> None:
        time.sleep(slow_s)
        if strikes and step == at:
            this_rank_hangs() if kind == "hang" else os._exit(7)
        beat(self, step, *arguments, **named)

    RunMarkers.beat = slow_beat  # type: ignore[method-assign]


def this_rank_hangs() -> None:
    time.sleep(10_000)


def main() -> None:
    if os.environ.get("BANDLOOM_ATTEMPT", "").endswith(".0"):
        time.sleep(float(os.environ.get("START", "0")))
    plant(float(os.environ.get("SLOW", "0")), os.environ.get("FAULT", ""))
    if sys.argv[1] == "toy":
        import toy_trainer

        toy_trainer.main()
    else:
        from bandloom.cli import main as bandloom

        bandloom()


if __name__ == "__main__":
    main()
