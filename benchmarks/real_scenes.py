"""The chain on real scenes: shard, pretrain, fine-tune beside the floors, map; writes the table of docs/results.md.

Needs a folder of real Sentinel-2 data (``--data``, by default ``../shared/data`` beside the checkout); nothing of it is
copied into the project. Types the same verbs as a user: ``python -m benchmarks.real_scenes --out runs/real``.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
import yaml

from bandloom.run_folder import commit

HERE = Path(__file__).parent.parent
LULC = {"water": "#1f6fd0", "trees": "#1c7c2c", "flooded_vegetation": "#5fb3a2", "crops": "#e2b23c",
        "built_area": "#c23b3b", "bare_ground": "#b9a37e", "snow_ice": "#e8f1f7", "clouds": "#bfbfbf",
        "rangeland": "#cdd17a"}  # fmt: skip
TARGETS = {"282D": "lulc_seg/282D_485L_3_3", "433D": "lulc_seg/433D_629L_3_1", "flood": "flood_seg/Spain_7370579",
           "amazon": "lulc_sparse_amazon_sen2", "chips32": "lulc_chips32", "chips16": "lulc_chips16"}  # fmt: skip
MAPS = ("282D", "433D", "flood")  # whose models are exported and mapped
CHIP_SIDE_PX = {"chips32": 36, "chips16": 18}  # padded to the 60 m grid
# what the sources say of their offset nowhere (their readme and their pixels do): baseline before 04.00, or harmonised
WITHOUT_OFFSET = ("unlabelled/baltic_l2a_chips128", "water_timeseries_boadella", "unlabelled/ssl4eo_s12/s2a",
                  "unlabelled/majortom_s2l2a", "unlabelled/bigearthnet_v2")  # fmt: skip


def main() -> None:
    """Run everything and write ``OUT/table.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "runs" / "real")
    parser.add_argument("--pretrain-steps", type=int, default=1000)
    parser.add_argument("--finetune-steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--targets", default=",".join(TARGETS), help="names with commas")
    parser.add_argument("--head", default="linear", help="linear, fpn or dpt")
    parser.add_argument("--all-floors", action="store_true", help="also `bandloom baselines`: networks from scratch")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pretrain(options.data, options.out, options.pretrain_steps)
    names = options.targets.split(",")
    runs = {(name, seed): score(options, name, seed) for name in names for seed in range(options.seeds)}
    for name in set(names) & set(MAPS):
        make_map(options.data / TARGETS[name], options.out, name)
    (options.out / "table.md").write_text(table(runs, names, options.seeds))


def score(options: argparse.Namespace, name: str, seed: int) -> dict:
    """Fine-tune one target with one seed, with every floor when asked; returns its metrics."""
    config = make_config(options, name, seed)
    run = options.out / f"finetune-{name}-{seed}"
    bandloom("finetune", config, "--out", run)
    record = json.loads((run / "metrics.json").read_text())
    if options.all_floors:
        floors = options.out / f"floors-{name}-{seed}"
        bandloom("baselines", config, "--out", floors)
        held = {row["name"] for row in record["rows"]}
        more = json.loads((floors / "metrics.json").read_text())["rows"]
        record["rows"] += [row for row in more if row["name"] not in held]
    return record


def pretrain(data: Path, out: Path, steps: int) -> None:
    """Shard every 13-band L1C and 12-band L2A source and pretrain on all of it."""
    patterns = ("lulc_seg/*/S2L1C.tif", "lulc_seg/*/S2L2A.tif", "flood_seg/*/S2Hand.tif",
                "unlabelled/ssl4eo_s12/s2c/*", "lulc_sparse_amazon_sen2/S2L2A.tif")  # fmt: skip
    sources = [path for pattern in patterns for path in data.glob(pattern)] + [tagged(data, out / "tagged")]
    if not (out / "shards" / "manifest.json").exists():
        bandloom("shards", "build", *sorted(sources), "--out", out / "shards", "--split", "train")
    config = {"shards": str(out / "shards"), "size": "demo", "crop_px": 72,
              "trainer": {"steps": steps, "batch_size": 24}}  # fmt: skip
    bandloom("pretrain", write(out / "pretrain.yaml", config), "--out", out / "pretrain")


def tagged(data: Path, out: Path) -> Path:
    """Copy the sources that do not say their offset, with the tag they lack (0: none was added)."""
    shutil.rmtree(out, ignore_errors=True)
    for folder in WITHOUT_OFFSET:
        for path in (data / folder).rglob("*.tif*"):
            if "mask" in path.name:
                continue
            copy = out / path.relative_to(data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            with rasterio.open(copy, "r+") as raster:
                raster.update_tags(RADIO_ADD_OFFSET="0")
    return out


def make_config(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Shard a target once and write the config of its fine-tuning with one seed, split by blocks."""
    shards = options.out / f"shards-{name}"
    if not shards.exists():
        make_shards(options.data / TARGETS[name], options.out, name, shards)
    chips = name in CHIP_SIDE_PX
    config = {
        "shards": str(shards), "checkpoint": str(options.out / "pretrain"), "task": "classify" if chips else "segment",
        "split": {"kind": "block", "seed": seed},
        "trainer": {"steps": options.finetune_steps, "batch_size": 16 if chips else 8, "seed": seed,
                    "engine": {"lr": 1e-3, "warmup_steps": 20, "betas": [0.9, 0.999]}},
    } | ({} if chips else {"chip_px": 72, "head": options.head})  # fmt: skip
    return write(options.out / f"finetune-{name}-{seed}.yaml", config)


def make_shards(folder: Path, out: Path, name: str, shards: Path) -> None:
    """Build the labelled shards of a target the way a user would: a mask, polygons, or chips in class folders."""
    if name in CHIP_SIDE_PX:
        bandloom("shards", "build", folder, "--class-folders", "--side", str(CHIP_SIDE_PX[name]), "--out", shards)
        return
    if name != "amazon":
        image, labels, label_set = inputs(folder, out, name)
        bandloom("shards", "build", image, "--labels", labels, "--label-set", label_set, "--out", shards)
        return
    classes = [{"code": code, "name": each} for code, each in enumerate(("dryout", "forest", "village", "water"), 1)]
    label_set = write(out / "labels-amazon.yaml", {"name": "amazon", "classes": classes})
    prepared = out / "prepared-amazon"
    shutil.rmtree(prepared, ignore_errors=True)
    bandloom("labels", "prepare", folder / "S2L2A.tif", "--form", "polygons", "--labels",
             folder / "training_polygons.geojson", "--label-set", label_set, "--out", prepared)  # fmt: skip
    bandloom("shards", "build", prepared / "scenes", "--labels", prepared / "labels", "--label-set", label_set, "--out",
             shards)  # fmt: skip


def inputs(folder: Path, out: Path, name: str) -> tuple[Path, Path, Path]:
    """Return the image, the label raster and the label set of a target; classes without a pixel are left out."""
    image = folder / ("S2Hand.tif" if name == "flood" else "S2L1C.tif")
    labels = folder / ("LabelHand.tif" if name == "flood" else "LULC.tif")
    if name == "flood":
        classes = [{"code": 0, "name": "land", "colour": "#b9a37e"}, {"code": 1, "name": "water", "colour": "#1f6fd0"}]
        record = {"name": "flood", "classes": classes, "ignore": [-1, 255]}
    else:
        with rasterio.open(labels) as raster:
            counts = np.bincount(raster.read(1).ravel(), minlength=10)
        classes = [{"code": code, "name": each, "colour": colour}
                   for code, (each, colour) in enumerate(LULC.items(), 1) if counts[code] >= 100]  # fmt: skip
        rare = [code for code in range(1, 10) if 0 < counts[code] < 100]
        record = {"name": f"lulc-{name}", "classes": classes, "ignore": [0, *rare]}
    return image, labels, write(out / f"labels-{name}.yaml", record)


def make_map(folder: Path, out: Path, name: str) -> None:
    """Export the first seed's model and map its scene."""
    bundle, image = out / f"{name}.bundle", inputs(folder, out, name)[0]
    if not bundle.exists():
        bandloom("export", out / f"finetune-{name}-0", "--out", bundle)
    (out / f"map-{name}.tif").unlink(missing_ok=True)
    (out / f"map-{name}.png").unlink(missing_ok=True)
    bandloom("predict", bundle, image, "--out", out / f"map-{name}.tif", "--png")


def table(runs: dict[tuple[str, int], dict], names: list[str], seeds: int) -> str:
    """Return the table of all targets: means over seeds, macro-F1 by seed, and how far ahead the model is at least."""
    lines = [f"Commit {commit()}, {seeds} seeds (weights, order and blocks).", "",
             "| scene | | accuracy | macro-F1 | by seed | mean IoU | water IoU | model ahead (95 %, by seed) |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name in names:
        records = [runs[name, seed] for seed in range(seeds)]
        for row in (each["name"] for each in records[0]["rows"]):
            own = [next((each for each in record["rows"] if each["name"] == row), None) for record in records]
            lines.append(_line(name, row, [each for each in own if each is not None]))
    return "\n".join(lines) + "\n"


def _line(name: str, row: str, own: list[dict]) -> str:
    f1 = ", ".join(f"{each['macro_f1']:.3f}" for each in own)
    water = [c["iou"] for each in own for c in each["classes"] if c["name"] == "water" and c["iou"] is not None]
    ahead = ", ".join(f"{low:+.3f} to {high:+.3f}" for low, high in
                      (each["margin_95"]["macro_f1"] for each in own if each.get("margin_95")))  # fmt: skip
    means = [np.mean([each[key] for each in own]) for key in ("overall", "macro_f1", "mean_iou")]
    return (f"| {name} | {row} | {means[0]:.3f} | {means[1]:.3f} | {f1} | {means[2]:.3f} |"
            f" {f'{np.mean(water):.3f}' if water else '-'} | {ahead or '-'} |")  # fmt: skip


def bandloom(*words: str | Path) -> None:
    """Type one verb."""
    command = [sys.executable, "-m", "bandloom.cli", *map(str, words)]
    print("$ bandloom", *words, flush=True)
    subprocess.run(command, check=True)


def write(path: Path, record: dict) -> Path:
    """Write a YAML file and return its path."""
    path.write_text(yaml.safe_dump(record, sort_keys=False))
    return path


if __name__ == "__main__":
    main()
