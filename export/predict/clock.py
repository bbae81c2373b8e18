"""Timing of a mapped scene: reading, engine, blending, writing."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator


class Clock:
    """Adds up wall time by name; names that ran on other threads overlap, so they need not sum to the total."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._began = time.perf_counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] += time.perf_counter() - began

    @property
    def total_s(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._began

    def split(self) -> str:
        """Return the split as one line, such as ``reading 1.2 s, engine 8.0 s``."""
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())

    def record(self) -> dict[str, float]:
        """Return the split so far and the seconds since the clock was made, as JSON types."""
        return {name: round(seconds, 2) for name, seconds in self.seconds.items()} | {"in all": round(self.total_s, 2)}
