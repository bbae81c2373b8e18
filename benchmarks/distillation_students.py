"""Trains the students of :mod:`benchmarks.distillation`, one after the other, by the same verbs as a user.

``python -m benchmarks.distillation_students RUNS --shards ALL --taught L1C --teacher GALILEO``: ALL are shards of
every unlabelled source at hand, L1C those of the teacher's level alone. What is done is not done again.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

SEEDS, STEPS, STEM_FILTERS = (0, 1, 2), 1200, 256


def configs(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return each student's config; all are of one size, and see as many samples."""
    engine = {"precision": "fp32", "warmup_steps": 60}
    trainer = {"steps": options.steps, "batch_size": 16, "workers": 0, "engine": engine}
    held = {"shards": str(options.shards), "size": "demo", "split": None, "trainer": trainer}
    stem = {"stem_filters": STEM_FILTERS}
    taught = {"kind": "distil", "teacher": str(options.teacher), "mask_ratio": 0.5}
    return {
        "both": held | {"objective": taught | {"pixel_weight": 1.0, "untaught": "pixels"}},
        "pixels": held,
        "words": held | {"objective": {"kind": "visual_words"}},
        "pixels_stem": held | stem,
        "words_stem": held | stem | {"objective": {"kind": "visual_words"}},
        "both_stem": held | stem | {"objective": taught | {"pixel_weight": 1.0, "untaught": "pixels"}},
        "tokens": held | {"shards": str(options.taught), "objective": taught},
        "full": held | {"shards": str(options.taught), "objective": taught | {"whitening": "full"}},
    }


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--taught", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--students", default="both,pixels,words,pixels_stem,words_stem,both_stem,tokens,full")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    options = parser.parse_args()
    made = configs(options)
    options.runs.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.students.split(","):
            path, run = options.runs / f"{name}.yaml", options.runs / f"{name}-{seed}"
            path.write_text(yaml.safe_dump(made[name], sort_keys=False))
            words = ["pretrain", str(path), f"trainer.seed={seed}", "--out", str(run)]
            subprocess.run([sys.executable, "-m", "bandloom.cli", *words], check=True)


if __name__ == "__main__":
    main()
