import threading
import time
from functools import partial

import pytest

from bandloom.command_line.console import track
from bandloom.run_state.pulse import StopRequested, alive, heard_by, pulse, spoken


class Listener:
    """Notes what it hears, and asks for a stop after a number of pulses."""

    def __init__(self, most: int = 10**9) -> None:
        self.heard: list[str] = []
        self.spoken: list[str] = []
        self.most = most

    def hear(self, stage: str) -> None:
        self.heard.append(stage)
        if len(self.heard) > self.most:
            raise StopRequested

    def speak(self, stage: str) -> None:
        self.spoken.append(stage)


def test_outside_of_a_run_nothing_is_heard_and_work_stays_in_its_thread():
    pulse("anything")
    assert alive(threading.get_ident, "work") == threading.get_ident()
    with spoken("save"):
        assert threading.active_count() >= 1


def test_every_item_of_a_tracked_loop_beats_and_a_stop_ends_it():
    listener, seen = Listener(most=3), []
    with heard_by(listener), pytest.raises(StopRequested):
        seen.extend(track(range(10), "scoring"))
    assert seen == [0, 1, 2]
    assert set(listener.heard) == {"scoring"}


def test_work_that_blocks_is_spoken_for_and_its_result_and_errors_come_back():
    listener = Listener()

    def work() -> int:
        time.sleep(1.2)
        pulse("inside")  # a thread of its own hears nothing
        return 7

    with heard_by(listener):
        assert alive(work, "fitting") == 7
    with heard_by(listener), pytest.raises(ZeroDivisionError):
        alive(partial(divmod, 1, 0), "fitting")
    assert len(listener.heard) >= 3
    assert set(listener.heard) == {"fitting"}


def test_a_stop_leaves_work_that_blocks_within_a_second():
    over = threading.Event()
    began = time.monotonic()
    with heard_by(Listener(most=1)), pytest.raises(StopRequested):
        alive(lambda: over.wait(60), "fitting")
    over.set()
    assert time.monotonic() - began < 30


def test_no_handler_of_ordinary_exceptions_swallows_a_stop():
    assert not issubclass(StopRequested, Exception)


def test_a_save_is_spoken_for_but_not_for_ever():
    listener = Listener()
    with heard_by(listener), spoken("saving", most_s=0.7):
        time.sleep(2.5)
    assert 1 <= len(listener.spoken) <= 2
