"""Switches Python's garbage collector off while a command starts and ends: a third of the time, and nothing to free."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without looking for garbage: the many new objects of a module are none, and start the collector often."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@cache
def leave_at_exit() -> None:
    """Leave what is there when the process ends to the system, rather than look through all of it several times.

    Files and folders that something closes at exit still are: this comes after whatever is registered later, and
    objects that nothing holds are freed as ever; only those that hold each other are not looked for.
    """
    atexit.register(gc.freeze)
