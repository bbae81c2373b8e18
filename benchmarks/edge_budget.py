"""Measures what a bundle costs on a small box: memory and milliseconds a tile of segmenters of several sizes.

``python -m benchmarks.edge_budget`` runs ``bandloom bundle bench`` on bundles of random weights, writes its records to
``benchmarks/results/edge_budget.json`` and rewrites the table of docs/deploy.md between its two marks.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bandloom.export.runtimes.bench import bench
from benchmarks.gpu.engines import bundle_of
from benchmarks.gpu.scale import smoke
from benchmarks.harness import RESULTS, write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "deploy.md"
BEGIN, END = "<!-- edge budget -->", "<!-- /edge budget -->"
SIZES = ("demo", "S")
THREADS, SECONDS = (1, 2), 2.0


def main() -> None:
    """Measure each size and rewrite the table."""
    records = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            bundle = bundle_of(replace(smoke(Path(folder)), engine_size=size, engine_tile_px=None))
            records[size] = bench(bundle, THREADS, SECONDS, 1)  # wide tiles are given to an engine one by one
    write("edge_budget", [])
    path = RESULTS / "edge_budget.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"records": records}, indent=1) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n\n" + table(records) + "\n" + END + rest.partition(END)[2])


def table(records: dict[str, dict[str, Any]]) -> str:
    """Return the records as a table in Markdown, a line each size, precision and runtime."""
    rows: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for size, record in records.items():
        for row in record["rows"]:
            rows.setdefault((size, row["precision"], row["runtime"]), {})[row["threads"]] = row
    one, two = THREADS
    lines = [
        f"| size | precision | runtime | file, MB | peak RSS, MB | of it before loading | ms a tile, {one} thread |"
        f" {two} threads | processor ms a tile, {one} thread | calls timed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (size, precision, runtime), counts in rows.items():
        first, second = counts[one], counts.get(two, counts[one])
        figures = [first["ms_a_tile"], second["ms_a_tile"], first["processor_ms_a_tile"]]
        lines.append(
            f"| {size} | {precision} | `{runtime}` | {first['file_mb']:.1f} | {first['rss_mb']:.0f} |"
            f" {first['rss_mb_before']:.0f} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |"
            f" {first['calls']}, {second['calls']} |"
        )
    record = next(iter(records.values()))
    about, machine = record["bundle"], record["machine"]
    lines += [
        "",
        f"A tile is {about['tile_px']} px a side and gives {about['stride_px']} px of the map; median wall times of all"
        f" calls that began within {SECONDS:g} s,",
        f"at least one, on {machine['cores']} cores, {machine['processor']}, {record['date']}. The cores were shared,"
        " so two threads often waited",
        "for each other: read processor time, and measure your own box.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
