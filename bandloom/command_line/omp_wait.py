"""OpenMP spin-wait: waiting threads sleep after a short spin, so that training on a busy machine does not stall.

GNU OpenMP, which torch and scikit-learn bring, lets a thread that waits spin for milliseconds before it sleeps.
Where another process wants the same cores, spinning takes the time that the awaited thread needs: a step on two cores
beside one or two busy processes took 3 to 7 times as long (docs/decisions/step-time.md).
"""

import os

WAIT_TURNS = "1000"  # of the spin; 300,000 by default
_DECIDES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_asleep() -> None:
    """Let OpenMP libraries that are loaded from now on sleep soon, unless the environment says how they wait."""
    if not any(name in os.environ for name in _DECIDES):
        os.environ["GOMP_SPINCOUNT"] = WAIT_TURNS
