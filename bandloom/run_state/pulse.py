"""What long stages outside of training steps say and hear: a heartbeat while they work, and a request to stop.

Every loop under :func:`bandloom.command_line.console.track` calls :func:`pulse`; what blocks for long inside one
call, such as a classifier's fit, goes through :func:`alive`. Outside of a run both do nothing.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
EVERY_S = 0.5
MOST_SILENT_S = 1800.0  # how long a call that cannot listen is spoken for


class Listener(Protocol):
    """Who hears the pulses of a run."""

    def hear(self, stage: str) -> None:
        """Beat, and raise StopRequested where the attempt was asked to stop."""
        ...

    def speak(self, stage: str) -> None:
        """Beat."""
        ...


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)  # a thread that is started has none


class StopRequested(BaseException):
    """Ends a stage whose attempt was asked to stop; no ``except Exception`` on the way swallows it."""


def pulse(stage: str) -> None:
    """Say that this process lives and works on ``stage``.

    Raises:
        StopRequested: the attempt was asked to stop.
    """
    listener = _LISTENER.get()
    if listener is not None:
        listener.hear(stage)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let ``listener`` hear every pulse of this thread."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def alive(work: Callable[[], T], stage: str) -> T:
    """Return what ``work`` returns; it runs in a thread, while this one goes on to speak and to listen.

    Raises:
        StopRequested: the attempt was asked to stop; what the thread was at is given up with the process.
    """
    if _LISTENER.get() is None:
        return work()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as cause:
            outcome.append((None, cause))

    thread = threading.Thread(target=run, name=stage, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            pulse(stage)
            thread.join(EVERY_S)
    except StopRequested:
        atexit.register(_leave, thread)
        raise
    result, cause = outcome[0]
    if cause is not None:
        raise cause
    return result


@contextmanager
def spoken(stage: str, most_s: float = MOST_SILENT_S) -> Iterator[None]:
    """Beat from a thread while something runs that cannot stop half-way (a save, say); not for ever: it may hang."""
    listener, over = _LISTENER.get(), threading.Event()
    if listener is None:
        yield
        return

    def speak() -> None:
        until = time.monotonic() + most_s
        while not over.wait(EVERY_S) and time.monotonic() < until:
            listener.speak(stage)

    thread = threading.Thread(target=speak, name=stage, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _leave(thread: threading.Thread) -> None:
    """End the process under a thread that still computes: an interpreter that ends would abort on it."""
    if thread.is_alive():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(75)
