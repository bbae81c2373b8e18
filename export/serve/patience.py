"""Timeouts for slow request headers and for clients that stop reading (HTTP/1.1).

uvicorn times out idle kept-alive connections alone; a client that dribbles a head, or that never reads its answer,
would keep its connection until the process ends.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from bandloom.export.serve.limits import Limits


def patient_protocol(limits: Limits) -> type[H11Protocol]:
    """Return a protocol class for :class:`uvicorn.Config` with the deadlines of ``limits``."""

    class Patient(H11Protocol):
        """One connection with two timers."""

        _head: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_head()

        def _watch_head(self) -> None:
            """Run the timer exactly while no request is being answered; what arrives late is dropped with the line."""
            busy = self.cycle is not None and not self.cycle.response_complete
            if busy or self.transport.is_closing():
                self._head = _stopped(self._head)
            elif self._head is None:
                self._head = self.loop.call_later(limits.header_s, self.transport.abort)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self._unread or self.loop.call_later(limits.write_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._unread = _stopped(self._unread)

        def connection_lost(self, exc: Exception | None) -> None:
            self._head, self._unread = _stopped(self._head), _stopped(self._unread)
            super().connection_lost(exc)

    return Patient


def _stopped(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
