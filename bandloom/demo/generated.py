"""``bandloom demo`` on generated scenes: every stage as a user would type it, from nothing to a land-cover map.

The demo only writes configs and types verbs; whatever a stage does here it does on a cluster too.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from bandloom.command_line.console import console
from bandloom.demo.stages import print_next, print_scores, type_verb
from bandloom.tasks import ANSWERS


@dataclass(frozen=True)
class DemoSize:
    """How much of everything a demo makes."""

    scenes: int
    chip_scenes: int
    side_px: int
    map_px: int
    pretrain_steps: int
    warm_steps: int
    segment_steps: int
    classify_steps: int


FULL = DemoSize(
    scenes=24,
    chip_scenes=12,
    side_px=480,
    map_px=960,
    pretrain_steps=400,
    warm_steps=1500,
    segment_steps=20,
    classify_steps=150,
)
QUICK = DemoSize(
    scenes=8,
    chip_scenes=4,
    side_px=240,
    map_px=360,
    pretrain_steps=20,
    warm_steps=60,
    segment_steps=8,
    classify_steps=8,
)
UNSEEN_SEED = 5000  # no scene of the demo's shards has it


def generated_demo(out: Path, size: DemoSize) -> None:
    """Run every stage on generated scenes, into a folder that is empty or holds this demo, interrupted."""
    began = time.monotonic()
    _run_stages(out, size)
    _summary(out, time.monotonic() - began)


def _run_stages(out: Path, size: DemoSize) -> None:
    config = _write_configs(out, size)
    scenes, side = ["--scenes", str(size.scenes)], ["--size", str(size.side_px)]
    type_verb("Scenes: thirteen bands and their labels", "shards", "synth", "--out", out / "data", *scenes, *side)
    type_verb(
        "Shards",
        "shards",
        "build",
        out / "data/scenes",
        "--labels",
        out / "data/labels",
        "--label-set",
        out / "data/label_set.yaml",
        "--out",
        out / "shards",
    )
    type_verb("Pretrain by masked autoencoding", "pretrain", config["pretrain"], "--out", out / "pretrain")
    type_verb("Fine-tune: a class for every pixel", "finetune", config["segment"], "--out", out / "segment")
    type_verb(
        "Chips in class folders",
        "shards",
        "synth",
        "--out",
        out / "chip_data",
        "--chips",
        "36",
        "--scenes",
        str(size.chip_scenes),
        *side,
        "--seed",
        "2000",
    )
    type_verb(
        "Shards of chips",
        "shards",
        "build",
        out / "chip_data/chips",
        "--class-folders",
        "--label-set",
        out / "chip_data/label_set.yaml",
        "--side",
        "36",
        "--out",
        out / "chip_shards",
    )
    type_verb("Fine-tune: a class for every chip", "finetune", config["classify"], "--out", out / "classify")
    for task in ("segment", "classify"):
        type_verb(f"Export the {task} model", "export", out / task, "--out", out / f"{task}.bundle")
        type_verb("Verify the bundle", "bundle", "verify", out / f"{task}.bundle")
    type_verb(
        "A scene nobody has seen",
        "shards",
        "synth",
        "--out",
        out / "unseen",
        "--scenes",
        "1",
        "--size",
        str(size.map_px),
        "--seed",
        str(UNSEEN_SEED),
    )
    type_verb(
        "Map it",
        "predict",
        out / "segment.bundle",
        out / f"unseen/scenes/scene_{UNSEEN_SEED:05d}",
        "--out",
        out / "map.tif",
        "--png",
    )


def _write_configs(out: Path, size: DemoSize) -> dict[str, Path]:
    """Write the three configs a user would keep, with everything else at its default."""
    configs: dict[str, dict[str, Any]] = {
        "pretrain": {
            "shards": str(out / "shards"),
            "size": "demo",
            "crop_px": 72,
            "pictures_every": max(1, size.pretrain_steps // 2),
            "trainer": {"steps": size.pretrain_steps, "batch_size": 24, "engine": {"warmup_steps": 50}},
        },
        "segment": {
            "shards": str(out / "shards"),
            "task": "segment",
            "checkpoint": str(out / "pretrain"),
            "chip_px": 72,
            "warm_steps": size.warm_steps,
            "curve_points": 1,  # a look at validation ground takes as long as ten steps
            "band_drops": False,  # of the chips alone: a map is scored in as long as it trains
            "seeds": 1,
            "trainer": _finetuning(size.segment_steps, batch_size=8, lr=2e-3),
        },
        "classify": {
            "shards": str(out / "chip_shards"),
            "task": "classify",
            "checkpoint": str(out / "pretrain"),
            "seeds": 1,
            "trainer": _finetuning(size.classify_steps, batch_size=32, lr=5e-4),
        },
    }
    (out / "configs").mkdir(parents=True, exist_ok=True)
    paths = {name: out / "configs" / f"{name}.yaml" for name in configs}
    for name, config in configs.items():
        paths[name].write_text(yaml.safe_dump(config, sort_keys=False))
    return paths


def _finetuning(steps: int, batch_size: int, lr: float) -> dict[str, Any]:
    engine = {"lr": lr, "warmup_steps": min(20, steps // 2), "betas": [0.9, 0.999]}
    return {"steps": steps, "batch_size": batch_size, "engine": engine}


def _summary(out: Path, took_s: float) -> None:
    console.rule(Text("Done", "bold"), align="left")
    for task in ("segment", "classify"):
        what = "every pixel" if ANSWERS[task].per_pixel else "every chip"
        print_scores(f"A class for {what}, on ground held out", out / task)
    console.print(f"The map:      {out / 'map.tif'}  (picture: {out / 'map.png'})")
    console.print(f"The runs:     {', '.join(str(out / stage) for stage in ('pretrain', 'segment', 'classify'))}")
    console.print(f"The bundles:  {out / 'segment.bundle'}, {out / 'classify.bundle'}")
    scene = out / f"unseen/scenes/scene_{UNSEEN_SEED:05d}"
    print_next(out / "map.tif", scene, out / "segment")
    console.print(f"It took {took_s:.0f} s. Your own scenes and labels are next: see README.md", soft_wrap=True)
