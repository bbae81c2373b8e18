"""A fine-tuned public encoder, a small model taught by it, the same one trained plainly: size, time, scores.

``python -m benchmarks.edge_models OUT --shards CHIPS --teacher GALILEO --tokens RUN`` types the verbs that
``bandloom distil`` types (RUN is a finished first training, on the teacher's tokens) for each seed of weights and
blocks, exports fp32 and int8, and scores the exported files themselves on the test chips, on one core. One JSON line
a model, seed and precision, in ``OUT/edge.jsonl``, and one a baseline and seed, which the plain training scores;
``--write`` alone writes what is there to ``benchmarks/results/edge_models.json``.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.metrics import f1_score

from bandloom.command_line.config import load_config
from bandloom.distil import student_config
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import Labelled
from bandloom.finetune.data.splits import TEST
from bandloom.finetune.experiment import open_data
from bandloom.scores import METRICS, read_scores
from benchmarks.harness import Figure, write

SEEDS = (0, 1, 3)  # of chips32: seed 2 leaves one class to train on, docs/results.md
STEPS, BATCH = 100, 16
PRECISIONS = ("fp32", "int8")
BASELINES = ["majority", "stats_logistic", "stats_rf", "random_conv"]


def main() -> None:
    """Do what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--size", default="demo")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write:
        write("edge_models", figures(options.out / "edge.jsonl"))
        return
    if None in (options.shards, options.teacher, options.tokens):
        parser.error("--shards, --teacher and --tokens are needed; or --write.")
    options.out.mkdir(parents=True, exist_ok=True)
    out: Path = options.out / "edge.jsonl"
    done = {tuple(json.loads(line)["key"]) for line in out.read_text().splitlines()} if out.exists() else set()
    for seed in SEEDS:
        for name in ("teacher", "distilled", "plain", "distilled, encoder frozen"):
            config = config_of(options, name, seed)
            if all((name, seed, precision) in done for precision in PRECISIONS):
                continue
            word = name.replace(", ", "-").replace(" ", "-")
            run, bundle, path = (options.out / f"{word}-{seed}{end}" for end in ("", ".bundle", ".yaml"))
            path.write_text(yaml.safe_dump(config, sort_keys=False))
            bandloom("finetune", path, "--out", run)
            if not bundle.exists() and not bandloom("export", run, "--out", bundle, "--precision", "fp32,int8", may=2):
                bandloom("export", run, "--out", bundle, "--precision", "fp32")  # the gate refused int8
            scored = baselines(run, seed) if name == "plain" else []
            for record in measured(name, seed, path, bundle) + scored:
                with out.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(json.dumps(record), flush=True)


def figures(path: Path) -> list[Figure]:
    """Return every model, as fp32 and int8, beside the best baseline, over the seeds that both have."""
    scores: dict[tuple[str, str], dict[int, float]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        name, seed, precision = record["key"]
        if not record.get("refused"):
            scores.setdefault((name, precision), {})[seed] = record["macro_f1"]
    rivals = {name: found for (name, precision), found in scores.items() if precision == "-"}
    made = []
    for (name, precision), found in scores.items():
        if name in rivals:
            continue
        seeds = sorted(set(found).intersection(*rivals.values()))
        means = {rival: float(np.mean([own[seed] for seed in seeds])) for rival, own in rivals.items()}
        best = max(means, key=lambda rival, means=means: means[rival])
        value = float(np.mean([found[seed] for seed in seeds]))
        made.append(Figure(f"edge {name} {precision}", value, "macro-F1", best, means[best], "", f"seeds {seeds}"))
    return made


def config_of(options: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Return the config of a model; the taught one is what ``bandloom distil`` writes of the teacher's run."""
    held = {
        "shards": str(options.shards),
        "task": "classify",
        "baselines": [],
        "compare_random": False,
        "band_drops": False,
        "curve_points": 0,
        "seeds": 1,
        "split": {"kind": "block", "seed": seed},
        "trainer": {"steps": STEPS, "batch_size": BATCH, "seed": seed, "workers": 0},
    }
    if name == "teacher":
        return held | {"checkpoint": str(options.teacher), "mode": "frozen"}
    if name == "plain":
        return held | {"size": options.size, "baselines": BASELINES}
    taught = student_config(held, options.out / f"teacher-{seed}", options.tokens, None, 0.5, seed)
    return taught | ({"mode": "frozen"} if name.endswith("frozen") else {})


def baselines(run: Path, seed: int) -> list[dict[str, Any]]:
    """Return the scores of the baselines on a run's test chips."""
    return [
        {"key": [row.name, seed, "-"], "accuracy": row.scores["overall"], "macro_f1": row.scores["macro_f1"]}
        for row in read_scores(run / METRICS).rows
        if row.name in BASELINES
    ]


def measured(name: str, seed: int, config: Path, bundle: Path) -> list[dict[str, Any]]:
    """Return scores of the exported files on the test chips, their size, and one core's own time a chip."""
    data = open_data(load_config(FinetuneConfig, config))
    chips: list[Labelled] = list(data.samples(TEST))
    labels = np.array([chip.label for chip in chips])
    groups = {gsd: np.stack([chip.groups[gsd] for chip in chips]) for gsd in chips[0].groups}
    records = []
    held = [model.precision for model in read_bundle(bundle).record.models]
    for precision in PRECISIONS:
        if precision not in held:
            records.append({"key": [name, seed, precision], "refused": True})
            continue
        file = bundle / read_bundle(bundle).record.model(precision).file
        runner = OnnxRunner(file, threads=1)
        parts = [slice(first, first + BATCH) for first in range(0, len(labels), BATCH)]
        told = np.concatenate([runner.run({g: v[part] for g, v in groups.items()}).argmax(1) for part in parts])
        few = {gsd: group[:8] for gsd, group in groups.items()}
        times = []
        for _ in range(12):
            began = time.process_time()
            runner.run(few)
            times.append(time.process_time() - began)
        records.append(
            {
                "key": [name, seed, precision],
                "accuracy": float((told == labels).mean()),
                "macro_f1": float(f1_score(labels, told, average="macro")),
                "test_chips": len(labels),
                "megabytes": file.stat().st_size / 1e6,
                "ms": 1000 * min(times) / len(few[min(few)]),
            }
        )
    return records


def bandloom(*words: str | Path, may: int = 0) -> bool:
    """Type one verb; returns whether it went well, where it ``may`` end with another code."""
    print("$ bandloom", *words, flush=True)
    code = subprocess.run([sys.executable, "-m", "bandloom.cli", *map(str, words)], check=False).returncode
    if code not in (0, may):
        raise SystemExit(code)
    return code == 0


if __name__ == "__main__":
    main()
