"""When a pretended card is done with what it was asked for: never before somebody has waited for it.

Each stream counts the marks set in it. A clock says, by stream, up to which mark everything is known to be done: the
host's, each stream's (what it will not begin before) and each event's (what it stands behind). So a tensor that is used
on a stream that does not wait for the one that makes it, and host memory that is written while a copy may still read
it, are faults here each time, where on a card they are wrong numbers now and then.
"""

import contextlib
from collections import Counter

import torch


class Reading:
    """A copy from page-locked memory that may still be under way."""

    def __init__(self, memory, stream):
        self.memory, self.stream, self.until = memory, stream, stream.mark + 1
        self.given = memory.clone()

    def check(self):
        if not torch.equal(_bytes(self.memory), _bytes(self.given)):
            raise RuntimeError("page-locked memory was written while the card could still copy from it")


class Stream:
    """One queue of the card's."""

    def __init__(self, streams):
        self._streams, self.mark, self.clock = streams, 0, Counter()
        streams.all.append(self)

    def set_mark(self):
        self.mark += 1
        self.clock[self] = self.mark
        return Counter(self.clock)

    def record_event(self, event=None):
        event = event or Event(self._streams)
        event.record(self)
        return event

    def wait_event(self, event):
        self.clock |= event.clock

    def wait_stream(self, stream):
        self.wait_event(stream.record_event())

    def synchronize(self):
        self._streams.host_waits(self)


class Event:
    """A mark in a stream."""

    def __init__(self, streams):
        self._streams, self.clock = streams, Counter()

    def record(self, stream=None):
        self.clock = (stream or self._streams.current).set_mark()

    def wait(self, stream=None):
        (stream or self._streams.current).wait_event(self)

    def query(self):
        return self.clock <= self._streams.host

    def synchronize(self):
        self._streams.host_knows(self.clock)


class Streams:
    """All streams of the card, and what the host knows of them."""

    def __init__(self):
        self.all, self.host, self.readings = [], Counter(), []
        self.default = self.current = Stream(self)

    @contextlib.contextmanager
    def used(self, stream):
        """Ask everything inside of ``stream``."""
        before, self.current = self.current, stream or self.current
        try:
            yield
        finally:
            self.current = before

    def host_waits(self, stream=None):
        """Let the host wait for all that a stream, or the current one, was asked for."""
        self.host_knows((stream or self.current).set_mark())

    def host_knows(self, clock):
        self.host |= clock
        done = [reading for reading in self.readings if self.host[reading.stream] >= reading.until]
        self.readings = [reading for reading in self.readings if reading not in done]
        for reading in done:
            reading.check()

    def reads(self, memory):
        """Note that the current stream copies from host memory, later."""
        self.readings.append(Reading(memory, self.current))

    def made(self, tensor):
        """Note which stream makes a tensor: where it lies was taken for that stream."""
        tensor.made_by, tensor.made_at = self.current, self.current.mark + 1

    def check_use(self, tensor):
        """Refuse a tensor that another stream makes, unless the current one waits for it and said that it reads it."""
        maker = getattr(tensor, "made_by", self.current)
        if maker is self.current or maker not in self.all:  # a constant kept from another pretence was long made
            return
        if self.current.clock[maker] < tensor.made_at:
            raise RuntimeError("a tensor is used on a stream that does not wait for the one that makes it")
        if self.current not in getattr(tensor, "read_by", ()):
            raise RuntimeError(
                "a tensor is used on a stream that record_stream was not told of: its memory may be lost"
            )

    def end(self):
        """Finish everything."""
        for stream in self.all:
            self.host_waits(stream)


def _bytes(tensor):
    return tensor.reshape(-1).view(torch.uint8)
