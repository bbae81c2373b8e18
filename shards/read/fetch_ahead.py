"""Prefetches the tars of a bucket, a few at a time, in the order that they will be read."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bandloom.errors import BandloomError

_AT_ONCE = 4  # transfers; one alone rarely fills a network


class FetchAhead:
    """Walks the same sequence as a loader, some batches before it."""

    def __init__(self, fetch: Callable[[str], Any], tars: Iterable[Iterable[str]], lead: int) -> None:
        """Begin to fetch.

        Args:
            fetch: makes a tar be there; what it raises is left to whoever reads the samples, who will meet it too.
            tars: names of the tars of each global batch, without end.
            lead: how many batches to be ahead of the reader, 1 at the least.
        """
        self._fetch, self._tars = fetch, tars
        self._lead = max(1, lead)
        self._room = threading.Semaphore(self._lead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._walk, name="fetch-ahead", daemon=True)
        self._thread.start()

    def advance(self) -> None:
        """Say that the reader has taken one more batch."""
        self._room.release()

    def stop(self) -> None:
        """Fetch nothing more; returns when the transfers under way are done."""
        self._stopped.set()
        self._room.release()
        self._thread.join()

    def _walk(self) -> None:
        asked: set[str] = set()
        with ThreadPoolExecutor(_AT_ONCE, "fetch") as pool:
            for number, names in enumerate(self._tars):
                self._room.acquire()
                if self._stopped.is_set():
                    return
                if number % self._lead == 0:  # what was asked for long ago may be gone from the cache by now
                    asked.clear()
                for name in dict.fromkeys(names):
                    if name not in asked:
                        asked.add(name)
                        pool.submit(self._fetch_one, name)

    def _fetch_one(self, name: str) -> None:
        if self._stopped.is_set():
            return
        try:
            self._fetch(name)
        except BandloomError:
            return
