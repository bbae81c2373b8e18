"""Rows of one call on a GPU, written one by one; ``--plan`` prints what to carry and which calls to make, in order.

``python -m benchmarks.gpu CALL --out FOLDER --limit 480`` measures what ``FOLDER/rows.jsonl`` lacks; the same command
goes on after a kill. ``--smoke`` runs every row of every call, tiny, on a CPU (parity on a pretended card).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu import correct, engines, feeding, one_rank, steps, training, wheels
from benchmarks.gpu.journal import Journal, Row, run_rows
from benchmarks.gpu.scale import Scale, smoke


@dataclass(frozen=True)
class Call:
    """One command on the box: its rows, and how long it may take."""

    rows: Callable[[Scale], Sequence[Row]]
    limit_s: int
    about: str


CALLS = {
    "correct": Call(correct.rows, 300, "ceilings, every task's losses against the CPU's, this project's tests"),
    "steps": Call(steps.eager_rows, 180, "samples/s, MFU and memory of S, B and L beside their predictions"),
    "compiled": Call(steps.compiled_rows, 300, "the same compiled, and a profile"),
    "feeding": Call(
        feeding.rows, 370, "the loader at 1,024, copies on both streams, a fed step, the losses of compiled steps"
    ),
    "ranks": Call(one_rank.rows, 240, "DDP over NCCL and DeepSpeed in one process, a state from one to the other"),
    "training": Call(
        training.rows, 590, "a real ViT-S for eight minutes, stopped and resumed, probes before and after"
    ),
    "engines": Call(engines.rows, 590, "engines of a random model built and run; wants TensorRT or onnxruntime-gpu"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one call, all of them tiny, or print the plan; returns 1 where a row failed in a smoke run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("call", nargs="?", choices=list(CALLS), help="what to measure")
    parser.add_argument("--out", type=Path, help="folder of rows.jsonl")
    parser.add_argument("--known", type=Path, action="append", default=[], help="folders of rows measured before")
    parser.add_argument("--work", type=Path, help="folder for shards and runs, kept for the next call")
    parser.add_argument("--limit", type=float, help="seconds; rows that would not end in time are left out")
    parser.add_argument("--plan", action="store_true", help="print wheels and commands, run nothing")
    parser.add_argument("--there", type=Path, help="for --plan: what the box has, as `pip list --format freeze`")
    parser.add_argument("--smoke", action="store_true", help="run every row, tiny, on a CPU")
    given = parser.parse_args(arguments)
    if given.plan:
        print(plan(given.there.read_text() if given.there else None))
        return 0
    if given.smoke:
        return _smoke(given.call, given.out)
    if given.call is None or given.out is None:
        parser.error("name a call and --out FOLDER, or pass --plan or --smoke")
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device is visible; run this where one is, or pass --smoke.")
    call: Call = CALLS[given.call]
    work = given.work or Path(tempfile.gettempdir()) / "bandloom-gpu"
    work.mkdir(parents=True, exist_ok=True)
    left_out = run_rows(call.rows(Scale(torch.device("cuda", 0), work)), _journal(given), given.limit or call.limit_s)
    if left_out:
        print(f"no time was left for: {', '.join(left_out)}; the same command measures them")
    return 0


def plan(there: str | None) -> str:
    """Return what to carry to a box that has no network, and the calls in order with their minutes."""
    has = wheels.names_in(there or wheels.USUAL)
    carried = wheels.lacking(has)
    needed = wheels.needed()
    lines = [
        "The box must have: " + " ".join(name for name in needed if name not in carried),
        "",
        f"Carry {len(carried)} wheels: " + " ".join(f"{name}=={version}" for name, version in carried.items()),
        "",
        "Here, once:",
        f"  {wheels.download_command(carried)}",
        "",
        "There, in each call before all else:",
        f"  {wheels.INSTALL}",
        "",
        "Then, in this order (each goes on where it was when it is given again):",
    ]
    for name, call in CALLS.items():
        command = f"python3 -m benchmarks.gpu {name} --out rows --limit {call.limit_s}"
        lines.append(f"  {call.limit_s / 60:4.1f} min  {command}   # {call.about}")
    return "\n".join(lines)


def _smoke(only: str | None, out: Path | None) -> int:
    """Run every row, or those of one call, and say which failed."""
    with tempfile.TemporaryDirectory() as folder:
        scale = smoke(Path(folder))
        journal = Journal(out or Path(folder) / "rows")
        for name in [only] if only else CALLS:
            run_rows(CALLS[name].rows(scale), journal, 3600)
        failed = {name: record["failed"] for name, record in journal.rows().items() if "failed" in record}
        print(f"{len(journal.rows())} rows, {len(failed)} failed: {failed}")
        return 1 if failed else 0


def _journal(given: argparse.Namespace) -> Journal:
    return Journal(given.out, given.known)


if __name__ == "__main__":
    sys.exit(main())
