"""Real sets, each against every floor: shard, pretrain, fine-tune, map; writes the table of docs/results.md.

Needs a folder of real Sentinel-2 data (``--data``, by default ``../shared/data`` beside the checkout); nothing of it is
copied into the project. Types the same verbs as a user, a set, seed and part at a time, and what is done is not done
again: ``python -m benchmarks.real_scenes --out runs/real --sets flood --seeds 0`` leaves ``results/flood-0.json``;
``--table`` makes one table of all that is there.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from bandloom.block_scores import margins, read_blocks
from bandloom.files.output import write_json
from bandloom.finetune.tasks.registry import get_task
from bandloom.run_state.run_folder import commit
from bandloom.scores import MODEL_ROW, ScoreRecord, read_scores
from benchmarks.real_inputs import CHIP_SIDE_PX, SETS, bandloom, make_shards, scene_with_mask, unlabelled_sources, write
from benchmarks.real_table import table

HERE = Path(__file__).parent.parent
MAPS = ("282D", "433D", "flood")  # whose models are exported and mapped
PARTS = ("floors", "model", "bands", "dropped")
KEPT = ("10m", "RGB")  # trained and scored with these bands alone
DROPPED = {"perturb": {"other_sensor": 0.5}}  # half of the training chips keep the bands of another sensor alone
# networks from scratch: (steps, batch, chip); small chips and batches, that a set and seed stays within minutes
FROM_SCRATCH = {"segment": (150, 4, 48), "classify": (100, 16, None), "change": (100, 4, 48)}


def main() -> None:
    """Do what is missing of the chosen sets, seeds and parts, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "runs" / "real")
    parser.add_argument("--encoder", type=Path, help="a pretraining run; else one is made in OUT/pretrain")
    parser.add_argument("--random", action="store_true", help="start from random weights, as finetune does by itself")
    parser.add_argument("--baselines", help="names with commas; else all of the task's")
    parser.add_argument("--pretrain-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100, help="of fine-tuning")
    parser.add_argument("--sets", default=",".join(SETS), help="names with commas")
    parser.add_argument("--seeds", default="0,1,2", help="of weights, order and blocks")
    parser.add_argument("--parts", default=",".join(PARTS), help=", ".join(PARTS))
    parser.add_argument("--head", default="linear", help="linear, fpn or dpt")
    parser.add_argument("--again", action="store_true", help="throw away what the chosen parts left before")
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    parser.add_argument("--maps", action="store_true", help="export the first seed's models and map their scenes")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        if not options.random:
            options.encoder = options.encoder or pretrain(options.data, options.out, options.pretrain_steps)
        for name in options.sets.split(","):
            for seed in map(int, options.seeds.split(",")):
                score(options, name, seed)
            if options.maps and name in MAPS:
                make_map(options.data, options.out, name)
    records = [json.loads(path.read_text()) for path in sorted((options.out / "results").glob("*.json"))]
    (options.out / "table.md").write_text(table(records))
    print((options.out / "table.md").read_text())


def pretrain(data: Path, out: Path, steps: int) -> Path:
    """Shard everything at hand and pretrain on it, without labels; returns the run."""
    if not (out / "shards" / "manifest.json").exists():
        sources = unlabelled_sources(data, out)
        bandloom("shards", "build", *sources, "--out", out / "shards", "--split", "train")
    config = {
        "shards": str(out / "shards"),
        "size": "demo",
        "crop_px": 72,
        "trainer": {"steps": steps, "batch_size": 24},
    }
    bandloom("pretrain", write(out / "pretrain.yaml", config), "--out", out / "pretrain")
    return out / "pretrain"


def score(options: argparse.Namespace, name: str, seed: int) -> None:
    """Do the chosen parts of one set and seed that are missing, and write ``results/NAME-SEED.json``."""
    config = make_config(options, name, seed)
    for part in options.parts.split(","):
        if part == "floors":
            steps, batch, chip = FROM_SCRATCH[config["task"]]
            trainer = config["trainer"] | {"steps": steps, "batch_size": batch}
            task = get_task(config["task"])
            names = [name for name in (*task.baselines, *task.networks) if name != "random_vit"]  # the run trains that
            run(
                options,
                f"floors-{name}-{seed}",
                "baselines",
                config | {"trainer": trainer, "chip_px": chip},
                "--only",
                options.baselines or ",".join(names),
            )
        elif part == "model":
            run(options, f"model-{name}-{seed}", "finetune", config)
        elif part == "dropped":
            run(options, f"dropped-{name}-{seed}", "finetune", config | DROPPED | {"compare_random": False})
        else:
            for bands in KEPT:
                kept = {"bands": bands, "compare_random": False, "band_drops": False}
                run(options, f"bands-{bands}-{name}-{seed}", "finetune", config | kept)
    write_json(options.out / "results" / f"{name}-{seed}.json", gather(options.out, name, seed))


def run(options: argparse.Namespace, label: str, verb: str, config: dict[str, Any], *more: str) -> None:
    """Type a verb with a config, unless its folder is whole already; note how long it took."""
    folder = options.out / label
    if options.again or (verb == "baselines" and not (folder / "wall.json").exists()):  # a training goes on by itself
        shutil.rmtree(folder, ignore_errors=True)
    if (folder / "wall.json").exists():
        return
    start = time.monotonic()
    bandloom(verb, write(options.out / f"{label}.yaml", config), "--out", folder, *more)
    write_json(folder / "wall.json", {"seconds": round(time.monotonic() - start), "commit": commit()})


def make_config(options: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Return the config of a set's fine-tuning with one seed, split by blocks, without floors."""
    shards = make_shards(options.data, options.out, name)
    chips = name in CHIP_SIDE_PX
    task = "classify" if chips else "change" if name == "boadella" else "segment"
    return (
        {
            "shards": str(shards),
            "checkpoint": None if options.encoder is None else str(options.encoder),
            "task": task,
            "baselines": [],
            "split": {"kind": "block", "seed": seed}
            | ({"block_m": 600} if task == "change" else {}),  # dates count once
            "trainer": {
                "steps": options.steps,
                "batch_size": 16 if chips else 8,
                "seed": seed,
                "engine": {"lr": 1e-3, "warmup_steps": 20, "betas": [0.9, 0.999]},
            },
            "seeds": 1,  # each of the seeds has blocks of its own here
        }
        | ({"size": "demo"} if options.encoder is None else {})
        | ({} if chips else {"chip_px": 72})
        | ({"head": options.head} if task == "segment" else {})
    )


def gather(out: Path, name: str, seed: int) -> dict[str, Any]:
    """Return one record of the parts that are there: rows, margins of the model over each, bands, costs."""
    rows: list[dict[str, Any]] = []
    record: dict[str, Any] = {"set": name, "seed": seed, "rows": rows, "bands": [], "parts": {}}
    blocks: dict[str, Any] = {}
    for part in ("model", "floors", "dropped", *(f"bands-{bands}" for bands in KEPT)):
        run = out / f"{part}-{name}-{seed}"
        if not (run / "wall.json").exists():
            continue
        found = flat(read_scores(run / "metrics.json"))
        record["parts"][part] = json.loads((run / "wall.json").read_text()) | {"split": found["split"]["hash"]}
        if part == "dropped":
            names = ("all", *(row["name"] for row in found["bands"][1:]))
            record["bands"] += [
                {**row, "name": f"{name} of all, dropped in training"}
                for name, row in zip(names, found["bands"], strict=True)
            ]
            continue
        record["bands"] += [{**row, "name": f"{row['name']} of all"} for row in found.get("bands", [])[1:]]
        if part.startswith("bands"):
            record["bands"].append(found["rows"][0] | {"name": f"{part.removeprefix('bands-')} alone"})
        else:
            rows += found["rows"]
            blocks |= read_blocks(run)
            record |= {
                key: found[key] for key in ("task", "sensor", "top_confusions") if key in found and key not in record
            }
    for row in rows[1:]:  # of the model, not of the first floor
        row["margin_95"] = margins(blocks[MODEL_ROW], blocks[row["name"]]) if "model" in record["parts"] else {}
    return record


def flat(record: ScoreRecord) -> dict[str, Any]:
    """Return a record whose rows hold their scores beside their other keys, as the tables here read them."""
    found = record.to_dict()
    for rows in (found["rows"], found.get("bands", [])):
        for row in rows:
            row |= row.pop("scores")
            row["classes"] = [land_class | land_class.pop("scores") for land_class in row.get("classes", [])]
    return found


def make_map(data: Path, out: Path, name: str) -> None:
    """Export the first seed's model and map its scene."""
    bundle, image = out / f"{name}.bundle", scene_with_mask(data / SETS[name], out, name)[0]
    if not bundle.exists():
        bandloom("export", out / f"model-{name}-0", "--out", bundle)
    for suffix in ("tif", "png"):
        (out / f"map-{name}.{suffix}").unlink(missing_ok=True)
    bandloom("predict", bundle, image, "--out", out / f"map-{name}.tif", "--png")


if __name__ == "__main__":
    main()
