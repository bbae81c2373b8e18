"""OpenMP threads that wait for each other sleep soon, so that a shared machine is not lost to waiting.

GNU OpenMP, which torch and scikit-learn bring, lets a thread that waits turn in a loop for milliseconds before it
sleeps. Where another process wants the same cores, that loop takes the time that the awaited thread needs: training on
two cores beside one busy process took 5 to 13 times as long.
"""

import os

WAIT_TURNS = "1000"  # of the loop, some 10 microseconds; 300,000 by default
_DECIDES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_asleep() -> None:
    """Let OpenMP libraries that are loaded from now on sleep soon, unless the environment says how they wait."""
    if not any(name in os.environ for name in _DECIDES):
        os.environ["GOMP_SPINCOUNT"] = WAIT_TURNS
