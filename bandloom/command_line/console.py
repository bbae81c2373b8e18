"""Console output and logging: rich on a terminal, plain timestamped lines in a job's log, rank 0 only."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from bandloom.run_state.pulse import pulse

console = Console(highlight=False, markup=False)  # a bracket in a name or a log is a bracket
logger = logging.getLogger("bandloom")
T = TypeVar("T")


def is_main_rank() -> bool:
    """Tell whether this process speaks for the run (rank 0, or no ranks at all)."""
    return int(os.environ.get("RANK", "0")) == 0


def start_logging(*, debug: bool = False) -> None:
    """Send the ``bandloom`` logger to the console; other ranks than 0 only warn.

    rasterio's warning of a raster without a place stays away: every reader says so itself where it matters.
    """
    warnings.filterwarnings("ignore", message="Dataset has no geotransform, gcps, or rpcs")
    logger.handlers.clear()
    if console.is_terminal:
        handler: logging.Handler = RichHandler(console=console, show_path=False, log_time_format="%H:%M:%S")
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.INFO if is_main_rank() else logging.WARNING)


def track(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    every_s: float = 10.0,
    note: Callable[[], str] | None = None,
) -> Iterator[T]:
    """Yield ``items`` under a progress bar on a terminal, or with a plain line every ``every_s`` seconds elsewhere.

    ``note`` says more of what is done so far. Both tell the time left where the total is known.
    """
    if total is None and isinstance(items, Sequence):
        total = len(items)
    items = _heard(items, what)
    if not is_main_rank():
        yield from items
    elif console.is_terminal:
        with progress_bar() as bar:
            task = bar.add_task(what, total=total)
            for item in items:
                yield item
                bar.update(task, advance=1, note=note() if note else "")
    else:
        began = said = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            if time.monotonic() - said > every_s:
                said = time.monotonic()
                left = f", {(said - began) * (total - count) / count / 60:.0f} min left" if total else ""
                more = f", {note()}" if note else ""
                logger.info("%s: %d%s%s%s", what, count, f" of {total}" if total else "", more, left)


def _heard(items: Iterable[T], what: str) -> Iterator[T]:
    """Beat and listen at every item."""
    for item in items:
        pulse(what)
        yield item
    pulse(what)


def progress_bar() -> Progress:
    """Return the project's one style of progress bar."""
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    )
    return _NotedProgress(*columns, console=console, transient=False)


class _NotedProgress(Progress):
    def add_task(self, description: str, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("note", "")
        return super().add_task(description, *args, **kwargs)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a rich table; floats are shown with three decimals."""
    shown = Table(*header, title=title, title_justify="left")
    for row in rows:
        shown.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    return shown
