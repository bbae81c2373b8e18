"""Stages of a demo: verbs typed as a user would, each with its output shown."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from rich.text import Text

from bandloom.command_line.child import child_command, child_environment
from bandloom.command_line.console import console, table
from bandloom.errors import BandloomError
from bandloom.scores import METRICS, TITLES, read_scores

SHOWN = ("overall", "macro_f1", "mean_iou")


def type_verb(title: str, *arguments: str | Path) -> None:
    """Run one verb as a user would, with its output and progress shown; stop the demo where it fails."""
    words = [str(argument) for argument in arguments]
    console.rule(Text(title, "bold"), align="left")
    console.print(f"$ bandloom {shlex.join(words)}", style="dim", soft_wrap=True)
    code = subprocess.run(child_command(words), env=child_environment(), check=False).returncode
    if code:
        raise BandloomError(
            f"the demo stopped at `bandloom {shlex.join(words)}` (exit code {code}); what it said stands above."
        )


def print_scores(title: str, run: Path) -> None:
    """Print the scores of a run's model beside its baselines."""
    rows = [[row.name, *(row.scores[name] for name in SHOWN)] for row in read_scores(run / METRICS).rows]
    console.print(table(title, ["", *(TITLES[name] for name in SHOWN)], rows))


def print_next(class_map: Path, scene: Path, run: Path) -> None:
    """Print two lines that can be copied: one shows the map over its scene, one the report of the run."""
    console.print(f"Look at it:   {_program()} view {class_map} --scene {scene}", soft_wrap=True)
    console.print(f"Read of it:   {_program()} report {run}", soft_wrap=True)


def _program() -> str:
    """Return how this program was started, for a line that can be copied: it may lie off the PATH, as in .venv/bin."""
    started = Path(sys.argv[0])
    installed = shutil.which("bandloom")
    if started.name != "bandloom" or (installed and Path(installed).resolve() == started.resolve()):
        return "bandloom"
    return str(started)
