"""Makes the tables of docs/results.md and two files of ``benchmarks/results`` of what distillation left.

``python -m benchmarks.distillation_table RUNS`` reads ``RUNS/distillation.jsonl`` and ``RUNS/edge/edge.jsonl``, and
writes ``distillation.json`` (students beside baselines), ``filter_stem.json`` (encoders with a stem and without) and
``one_label.json`` (the teacher with one label a class).
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, write

BASELINES = ("random weights", "512 random conv features", "RandomForest")
SEEDS = 3
COUNTS = ((5, "5 a class"), (20, "20 a class"), (None, "all"))
NAMES = {
    "both": "student of tokens and pixels",
    "tokens": "student of tokens alone",
    "full": "student of tokens alone, whitened in full",
    "pixels": "student of pixels alone",
    "words": "pixels and visual words, no teacher",
    "pixels_stem": "pixels alone, 256 filters in the stem",
    "words_stem": "pixels and visual words, 256 filters in the stem",
    "both_stem": "tokens and pixels, 256 filters in the stem",
    "random weights": "the same network from random weights",
    "random weights, stem": "random weights, 256 filters in the stem",
    "teacher": "teacher (Galileo-nano)",
    "teacher's random weights": "its network from random weights",
}
STEM_PAIRS = {"pixels_stem": "pixels", "words_stem": "words", "random weights, stem": "random weights"}
Scores = Mapping[tuple[str, str, int | None], dict[int, dict[str, float]]]


def read(path: Path) -> Scores:
    """Return records by set, row and count, then by seed."""
    found: dict[tuple[str, str, int | None], dict[int, dict[str, float]]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        record = json.loads(line)
        name, row, count, seed = record["key"]
        found[name, row, count][seed] = record
    return found


def markdown(found: Scores) -> str:
    """Return one table: macro-F1 by number of labels, accuracy with all, each seed's macro-F1, milliseconds."""
    lines = [
        "| set | | 5 a class | 20 a class | all labels | by seed | accuracy, all | ms a chip |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(key[0] for key in found):
        for row in (row for row in (*NAMES, *BASELINES[1:]) if (name, row, None) in found):
            cells = [f"{mean(found[name, row, count], 'macro_f1'):.3f}" for count, _ in COUNTS]
            own = found[name, row, None]
            seeds = ", ".join(f"{own[seed]['macro_f1']:.3f}" for seed in sorted(own))
            ms = mean(own, "ms")
            cells += [seeds, f"{mean(own, 'accuracy'):.3f}", "-" if np.isnan(ms) else f"{ms:.1f}"]
            lines.append(f"| {name} | {NAMES.get(row, row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def edge(path: Path) -> str:
    """Return the table of exported models."""
    lines = ["| model | precision | accuracy | macro-F1 | by seed | MB | ms a chip |", "|---|---|---|---|---|---|---|"]
    found: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        record = json.loads(line)
        found[record["key"][0], record["key"][2]].append(record)
    for (name, precision), every in found.items():
        own = [record for record in every if "refused" not in record]
        if not own:
            lines.append(f"| {name} | {precision} | refused by the parity gate |  |  |  |  |")
            continue
        accuracy, macro, size, ms = (np.mean([r[k] for r in own]) for k in ("accuracy", "macro_f1", "megabytes", "ms"))
        seeds = ", ".join(f"{r['macro_f1']:.3f}" for r in own)
        lines.append(f"| {name} | {precision} | {accuracy:.3f} | {macro:.3f} | {seeds} | {size:.1f} | {ms:.2f} |")
    return "\n".join(lines)


def figures(found: Scores, student: str = "both") -> list[Figure]:
    """Return the student beside the best baseline of each set, all labels."""
    made = []
    for name in dict.fromkeys(key[0] for key in found):
        if (name, student, None) not in found:
            continue
        rows = {row: found[name, row, None] for row in BASELINES if (name, row, None) in found}
        best = max(rows, key=lambda row: mean(rows[row], "macro_f1"))
        own = found[name, student, None]
        rival = mean(rows[best], "macro_f1")
        told = ", ".join(f"{row} {mean(runs, 'macro_f1'):.3f}" for row, runs in rows.items())
        note = f"seeds {sorted(own)}; {told}"
        made.append(Figure(f"distillation {name}", mean(own, "macro_f1"), "macro-F1", best, rival, ">= 1", note))
    return made


def stem_figures(found: Scores) -> list[Figure]:
    """Return encoders with a stem beside the same without one, all labels, the seeds of both; baselines in the note."""
    made = []
    for name, row, count in found:
        plain = STEM_PAIRS.get(row)
        if plain and count is None and (name, plain, None) in found:
            seeds = sorted(found[name, row, None].keys() & found[name, plain, None].keys())
            own, rival = ({seed: found[name, kind, None][seed] for seed in seeds} for kind in (row, plain))
            told = [f"{base} {mean(found[name, base, None], 'macro_f1'):.3f}" for base in BASELINES[1:]]
            note = f"seeds {seeds}; {', '.join(told)} (seeds 0, 1, 2)"
            values = mean(own, "macro_f1"), mean(rival, "macro_f1")
            made.append(Figure(f"filter_stem {name}, {row}", values[0], "macro-F1", plain, values[1], "", note))
    return made


def one_label_figures(found: Scores) -> list[Figure]:
    """Return the teacher beside the best baseline with one label a class, where both have three seeds."""
    made = []
    for name in dict.fromkeys(key[0] for key in found):
        rows = {row: found.get((name, row, 1), {}) for row in ("random weights, stem", *BASELINES)}
        rows = {row: runs for row, runs in rows.items() if len(runs) == SEEDS}
        own = found.get((name, "teacher", 1), {})
        if rows and len(own) == SEEDS:
            best = max(rows, key=lambda row: mean(rows[row], "macro_f1"))
            told = ", ".join(f"{row} {mean(runs, 'macro_f1'):.3f}" for row, runs in rows.items())
            values = mean(own, "macro_f1"), mean(rows[best], "macro_f1")
            note = f"Galileo-nano frozen, one label a class, seeds {sorted(own)}; {told}"
            made.append(Figure(f"one_label {name}", values[0], "macro-F1", best, values[1], "", note))
    return made


def mean(of: Mapping[int, dict[str, float]], what: str) -> float:
    """Return the mean over seeds."""
    return float(np.mean([record[what] for record in of.values()])) if of else float("nan")


def main() -> None:
    """Print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", default="distillation,filter_stem,one_label", help="files to write, with commas")
    options = parser.parse_args()
    runs: Path = options.runs
    found = read(runs / "distillation.jsonl")
    print(markdown(found))
    if (runs / "edge" / "edge.jsonl").exists():
        print(edge(runs / "edge" / "edge.jsonl"))
    made = {"distillation": figures(found), "filter_stem": stem_figures(found), "one_label": one_label_figures(found)}
    for written, rows in made.items():
        if rows and written in options.only.split(","):
            write(written, rows)


if __name__ == "__main__":
    main()
