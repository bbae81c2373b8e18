"""Profiler traces of a few steps, to be opened in Perfetto or chrome://tracing."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bandloom.command_line.console import logger

FIRST_STEP, LAST_STEP = 10, 20  # the first steps compile, warm caches and allocate


class StepProfiler:
    """Profiles steps 10 to 20 after the start and writes ``trace.json``; does nothing when not wanted."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._profile: Any = None

    def __enter__(self) -> Self:
        if self.folder is not None:
            from torch.profiler import profile, schedule

            self.folder.mkdir(parents=True, exist_ok=True)
            plan = schedule(wait=FIRST_STEP - 1, warmup=1, active=LAST_STEP - FIRST_STEP, repeat=1)
            self._profile = profile(schedule=plan, on_trace_ready=self._write, record_shapes=True)
            self._profile.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._profile is not None:
            self._profile.__exit__(kind, error, trace)

    def step(self) -> None:
        """Say that a step is done."""
        if self._profile is not None:
            self._profile.step()

    def _write(self, profile: Any) -> None:
        folder = self.folder or Path()
        profile.export_chrome_trace(str(folder / "trace.json"))
        operators = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=40)
        (folder / "operators.txt").write_text(operators)
        logger.info("a trace of steps %d to %d is in %s", FIRST_STEP, LAST_STEP, folder / "trace.json")
