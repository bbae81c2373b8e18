"""Processes that open a run folder and work in it for a while."""

import os
import time
from pathlib import Path

from bandloom.command_line.config import Config
from bandloom.errors import BandloomError
from bandloom.run_state.pulse import pulse
from bandloom.run_state.run_folder import RunFolder
from bandloom.training.attempt import Attempt


class Work(Config):
    steps: int = 1


def work(
    outs: list[str], steps: list[int], begin: float = 0.0, seconds: float = 0.0, launched: str | None = None
) -> str:
    """Open this rank's folder at a time; return "worked", or why it could not."""
    if launched is not None:
        os.environ["BANDLOOM_ATTEMPT"] = launched
    rank = int(os.environ.get("RANK", "0"))
    time.sleep(max(0.0, begin - time.time()))
    try:
        with Attempt(RunFolder(Path(outs[rank])), 60.0) as attempt:
            attempt.open(Work(steps=steps[rank]))
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                pulse("working")
                time.sleep(0.05)
    except BandloomError as cause:
        return str(cause)
    return "worked"
