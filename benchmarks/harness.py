"""Run benchmarks, write ``benchmarks/results/NAME.json``, and make ``docs/benchmarks.md`` from these files.

A benchmark is a module of this folder with ``def run() -> list[Figure]``. ``python -m benchmarks.harness [NAME...]``
runs all of them, or the named; ``--table`` only rewrites the table.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bandloom.export.runtimes.bench import processor
from bandloom.run_state.run_folder import environment
from benchmarks.misses import TRIED

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TABLE = HERE.parent / "docs" / "benchmarks.md"
MOST_ROWS = 20  # a benchmark with more figures has its table in docs/results.md, and here those with a goal alone


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its rival.

    Args:
        name: what was measured; the first word is the benchmark's name.
        value: the figure.
        unit: its unit.
        rival: what it was measured against, in the same run.
        rival_value: the rival's figure, in the same unit.
        goal: the ratio value / rival_value to reach, as text such as ``>= 3`` or ``<= 1.1``; empty when none was set.
        note: what a reader must know to trust the figure.
    """

    name: str
    value: float
    unit: str
    rival: str
    rival_value: float
    goal: str = ""
    note: str = ""

    @property
    def ratio(self) -> float:
        """The figure over its rival."""
        return self.value / self.rival_value if self.rival_value else float("nan")

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None when there is none."""
        if not self.goal:
            return None
        sign, limit = self.goal.split()
        return self.ratio >= float(limit) if sign == ">=" else self.ratio <= float(limit)


def main(arguments: list[str]) -> int:
    """Run the named benchmarks (default: all) and rewrite the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"none: all of them; {', '.join(available())}")
    parser.add_argument("--table", action="store_true", help="rewrite the table alone")
    told = parser.parse_args(arguments)
    if unknown := sorted(set(told.names) - set(available())):
        parser.error(f"there is no benchmark {unknown[0]!r}; python -m benchmarks.harness --help names them.")
    if not told.table:
        for name in told.names or available():
            write(name, importlib.import_module(f"benchmarks.{name}").run())
    TABLE.write_text(table())
    return 0


def available() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(file.stem for file in HERE.glob("*.py") if "def run(" in file.read_text() and file.stem != "harness")


def write(name: str, figures: list[Figure]) -> None:
    """Write one benchmark's results and print them with their ratios."""
    facts = environment()
    machine = f"{_cores()}, {processor()}, {platform.system()} {platform.machine()}"
    record = {
        "commit": facts["commit"],
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine,
        "command": f"make bench NAME={name}",
        "versions": {"python": facts["python"], **facts["packages"]},
        "figures": [asdict(figure) | {"ratio": figure.ratio, "met": figure.met} for figure in figures],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    for figure in figures:
        verdict = {True: "met", False: "MISSED", None: "no goal"}[figure.met]
        print(
            f"{figure.name}: {figure.value:.4g} {figure.unit}, {figure.rival}: {figure.rival_value:.4g},"
            f" ratio {figure.ratio:.3g} ({figure.goal or '-'}: {verdict}) {figure.note}"
        )


def table() -> str:
    """Return docs/benchmarks.md, made from the result files."""
    lines = [
        "# Benchmarks",
        "",
        "Made from `benchmarks/results/*.json` by `make bench`; each figure ran beside its rival in the same run. The",
        "machines are shared and noisy: read the ratios, and take anything within 15 % for a tie.",
        "",
        "| figure | value | rival | ratio | goal | met | commit, date |",
        "|---|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    missed: dict[str, list[str]] = {}
    machines: dict[str, int] = {}
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text())
        machines.setdefault(record["machine"], len(machines) + 1)
        figures = [figure for figure in record["figures"] if len(record["figures"]) <= MOST_ROWS or figure["goal"]]
        for figure in figures:
            met = {True: "yes", False: "**no**", None: "-"}[figure["met"]]
            lines.append(
                f"| {figure['name']} | {figure['value']:.4g} {figure['unit']} | {figure['rival']}:"
                f" {figure['rival_value']:.4g} | {figure['ratio']:.3g} | {figure['goal'] or '-'} | {met} |"
                f" {record['commit']}, {record['date']} |"
            )
            if figure["met"] is False:
                missed.setdefault(path.stem, []).append(f"{figure['name']} {figure['ratio']:.3g} ({figure['goal']})")
            if figure["note"]:
                notes.append(f"- {figure['name']}: {figure['note']}")
    lines += ["", *misses(missed)] if missed else []
    lines += ["", *notes, "", *(f"Machine: {machine}." for machine in machines)]
    return "\n".join(lines) + "\n"


def misses(missed: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the section on missed goals: what was tried, by benchmark."""
    lines = ["## Missed goals", "", "What was tried, and what keeps each from its goal:", ""]
    for name, figures in missed.items():
        lines.append(f"- **{name}**, {', '.join(figures)}: {TRIED.get(name, 'nothing is written down yet.')}")
    return [*lines, "", "## Notes"]


def _cores() -> str:
    """Say how many cores there are, and how many of them the benchmark was given when that is less."""
    there = os.cpu_count() or 1
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    return f"{there} cores" if given == there else f"{given} of {there} cores"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
