"""Stages of a demo: verbs typed as a user would, each with its output shown."""

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from bandloom import __version__
from bandloom.command_line.child import child_command, child_environment
from bandloom.command_line.console import console, table
from bandloom.errors import BandloomError, OutputError
from bandloom.files.output import write_errors, write_json
from bandloom.files.output_lock import locked
from bandloom.scores import METRICS, TITLES, read_scores

SHOWN = ("overall", "macro_f1", "mean_iou")
RECORD = "demo.json"  # which demo a folder is of, and whether it is finished
GO_ON = ("pretrain", "finetune")  # where they were; the output of every other verb is whole or not there


@contextlib.contextmanager
def demo_folder(out: Path, kind: str) -> Iterator[None]:
    """Hold the folder of a demo: a new one, or one that was interrupted there and goes on; at the end it is finished.

    Args:
        out: the folder.
        kind: which demo; another one's folder, or another version's, is refused.

    Raises:
        OutputError: ``out`` holds something else or a finished demo, or another process is at work there.
    """
    mine = {"kind": kind, "version": __version__, "finished": False}
    with contextlib.ExitStack() as held:
        with write_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(out))
        if out.exists() and any(out.iterdir()):
            if _record(out) != mine:
                raise OutputError(f"the output {out} exists already; remove it, or choose another with --out.")
            console.print(f"{out} holds this demo, interrupted: it goes on where it was.")
        with write_errors(out):
            out.mkdir(exist_ok=True)
        write_json(out / RECORD, mine)
        yield
        write_json(out / RECORD, mine | {"finished": True})


def _record(out: Path) -> object:
    try:
        return json.loads((out / RECORD).read_text())
    except (OSError, ValueError):
        return None


def type_verb(title: str, *arguments: str | Path) -> None:
    """Run one verb as a user would, with its output and progress shown; stop the demo where it fails.

    A verb whose output an earlier start of this demo made is not typed again.
    """
    words = [str(argument) for argument in arguments]
    console.rule(Text(title, "bold"), align="left")
    console.print(f"$ bandloom {shlex.join(words)}", style="dim", soft_wrap=True)
    if "--out" in words and words[0] not in GO_ON and Path(out := words[words.index("--out") + 1]).exists():
        console.print(f"{out} was made before the interruption and is kept.", soft_wrap=True)
        return
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
