"""Runs a trainer with a fault planted at a step: FAULT=crash:RANK@STEP, hang:RANK@STEP, always before either word.

python faulty.py toy STEPS SECONDS RUN      the toy trainer
python faulty.py pretrain CONFIG ...        anything bandloom does
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bandloom.markers import RunMarkers


def plant(fault: str) -> None:
    always = fault.startswith("always-")
    kind, _, place = fault.removeprefix("always-").partition(":")
    rank, at = (int(part) for part in place.split("@"))
    if not always and os.environ.get("BANDLOOM_ATTEMPT", "").rpartition(".")[2] != "0":
        return
    if int(os.environ["RANK"]) != rank:
        return
    beat = RunMarkers.beat

    def fail(self: RunMarkers, step: int, *arguments: Any, **named: Any) -> None:
        if step == at and kind == "crash":
            sys.stdout.write(f"rank {rank} crashes at step {step}\n")
            sys.stdout.flush()
            os._exit(7)
        if step == at and kind == "hang":
            this_rank_hangs()
        beat(self, step, *arguments, **named)

    RunMarkers.beat = fail  # type: ignore[method-assign]


def this_rank_hangs() -> None:
    time.sleep(10_000)


def main() -> None:
    if os.environ.get("FAULT"):
        plant(os.environ["FAULT"])
    if sys.argv[1] == "toy":
        import toy_trainer

        toy_trainer.main()
    else:
        from bandloom.cli import main as bandloom

        bandloom()


if __name__ == "__main__":
    main()
