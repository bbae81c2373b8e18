"""Stack traces of hanging ranks, as the watchdog prints them when it ends a step: which rank hangs, and where."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_DUMP = re.compile(r"^Current thread 0x\w+[^\n]*most recent call first\):\n((?:  File [^\n]*\n?)+)", re.M)
_FRAME = re.compile(r'  File "([^"]+)", line (\d+) in (\S+)')
_COLLECTIVE = re.compile(
    r"all_?reduce|all_?gather|reduce_?scatter|broadcast|barrier|monitored|synchronize|run_backward"
)


@dataclass(frozen=True)
class Frame:
    """One line of a stack: ``file``, ``line``, ``function``."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.function} ({Path(self.file).name}:{self.line})"


def read_stack(log: str) -> tuple[Frame, ...]:
    """Return the newest stack in a rank's log, innermost frame first; empty when the log holds none."""
    dumps = _DUMP.findall(log)
    return tuple(Frame(f, int(line), name) for f, line, name in _FRAME.findall(dumps[-1])) if dumps else ()


def stacks_of(attempt: Path) -> dict[int, tuple[Frame, ...]]:
    """Return rank to stack, for every rank of an attempt that printed one."""
    logs = {int(path.stem.partition("-")[2]): path for path in attempt.glob("rank-*.log")}
    stacks = {rank: read_stack(path.read_text(errors="replace")) for rank, path in sorted(logs.items())}
    return {rank: stack for rank, stack in stacks.items() if stack}


def suspects(stacks: Mapping[int, tuple[Frame, ...]]) -> dict[int, Frame]:
    """Return the ranks that hold up the others, with the frame where each is; empty when nothing sets any apart.

    Ranks that wait in a collective wait for somebody: whoever is elsewhere. Where all or none are in one, the few are
    suspected that are not where most are.
    """
    elsewhere = {rank for rank, stack in stacks.items() if not any(_COLLECTIVE.search(f.function) for f in stack)}
    if not elsewhere or len(elsewhere) == len(stacks):
        places = {rank: tuple(frame.function for frame in stack[:3]) for rank, stack in stacks.items()}
        most = Counter(places.values()).most_common(2)
        if len(most) < 2 or most[0][1] == most[1][1]:
            return {}
        elsewhere = {rank for rank, place in places.items() if place != most[0][0]}
    return {rank: _own_frame(stacks[rank]) for rank in sorted(elsewhere)}


def _own_frame(stack: tuple[Frame, ...]) -> Frame:
    """The innermost frame outside of torch and the standard library says most."""
    own = [frame for frame in stack if "site-packages" not in frame.file and "/lib/python" not in frame.file]
    return (own or list(stack))[0]
