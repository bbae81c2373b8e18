"""Two examples for the end of every verb's help. A test parses all of them and runs those that are cheap."""

from typing import Any

EXAMPLES: dict[str, tuple[str, str]] = {
    "demo": ("bandloom demo --quick", "bandloom demo --real --out real"),
    "doctor": ("bandloom doctor", "bandloom doctor --gpu --bundle landcover.bundle"),
    "shards": ("bandloom shards build scenes --out shards", "bandloom shards info shards"),
    "shards synth": (
        "bandloom shards synth --out data --scenes 2 --size 240",
        "bandloom shards synth --out chips --scenes 2 --size 240 --chips 24",
    ),
    "shards build": (
        "bandloom shards build data/scenes --labels data/labels --label-set data/label_set.yaml --out shards",
        "bandloom shards build chips/chips --class-folders --label-set chips/label_set.yaml --side 24 --out small",
    ),
    "shards finalize": (
        "bandloom shards finalize shards",
        "bandloom shards finalize /shared/shards",
    ),
    "shards plan": (
        "bandloom shards plan data/scenes",
        "bandloom shards plan data/scenes --side 120 --sensor sentinel2-l1c",
    ),
    "shards verify": ("bandloom shards verify shards", "bandloom shards verify shards --deep"),
    "shards stats": ("bandloom shards stats shards", "bandloom shards stats shards --split test"),
    "shards info": ("bandloom shards info shards", "bandloom shards info s3://bucket/shards"),
    "shards fetch": (
        "bandloom shards fetch --out scenes --bbox 100.4,13.6,100.7,13.9 --dates 2024-01-01/2024-02-01 --dry-run",
        "bandloom shards fetch --out scenes --bbox 100.4,13.6,100.7,13.9 --dates 2024-01-01/2024-02-01 --max-cloud 10",
    ),
    "shards show": ("bandloom shards show shards", "bandloom shards show shards 0 --png sample.png"),
    "shards repack": (
        "bandloom shards repack shards --out archive --codec archive",
        "bandloom shards repack shards --out fast --codec speed",
    ),
    "pretrain": (
        "bandloom pretrain laptop.yaml shards=shards --out runs/encoder --dry-run",
        "bandloom pretrain --resume runs/encoder",
    ),
    "embed": (
        "bandloom embed runs/encoder/checkpoint scene --out embeddings.tif --dtype int8 --dims 16",
        "bandloom embed runs/encoder/checkpoint shards --out embeddings.parquet",
    ),
    "finetune": (
        "bandloom finetune my.yaml --out runs/landcover",
        "bandloom finetune my.yaml checkpoint=runs/encoder mode=lora --out runs/better",
    ),
    "distil": (
        "bandloom distil runs/landcover --out runs/small",
        "bandloom distil runs/landcover --out runs/small --size tiny --shards shards --token-steps 4000",
    ),
    "probe": (
        "bandloom probe my.yaml checkpoint=runs/encoder --out runs/probe",
        "bandloom probe my.yaml checkpoint=runs/encoder --few-shot",
    ),
    "baselines": (
        "bandloom baselines my.yaml --out runs/baselines",
        "bandloom baselines my.yaml --only majority,pixel-rf",
    ),
    "bench": (
        "bandloom bench --sets sets --encoder runs/encoder --encoder galileo-nano --out runs/bench",
        "bandloom bench --sets sets --encoder runs/encoder --fine-tune --part 1/4 --out runs/bench",
    ),
    "evaluate": (
        "bandloom evaluate runs/landcover shards --out scores",
        "bandloom evaluate runs/landcover other_shards --ground all --out scores-elsewhere",
    ),
    "labels": (
        "bandloom labels list",
        "bandloom labels check scene --form polygons --labels polygons.geojson --label-set classes.yaml",
    ),
    "labels list": ("bandloom labels list", "bandloom labels list --help"),
    "labels sets": ("bandloom labels sets", "bandloom labels sets --help"),
    "labels colours": ("bandloom labels colours", "bandloom labels colours worldcover11"),
    "labels lucas": (
        "bandloom labels lucas lucas_harmo_uf.csv --year 2018 --out points.csv",
        "bandloom labels lucas lucas_harmo_uf.csv --most-m 30 --out points.csv",
    ),
    "labels examples": ("bandloom labels examples --out forms", "bandloom labels examples --out /tmp/forms"),
    "labels check": (
        "bandloom labels check scene --form mask --labels mask.tif --label-set data/label_set.yaml",
        "bandloom labels check chips/chips --form folders --label-set chips/label_set.yaml --report json",
    ),
    "labels prepare": (
        "bandloom labels prepare scene --form mask --labels mask.tif --label-set data/label_set.yaml --out mine",
        "bandloom labels prepare chips/chips --form folders --label-set chips/label_set.yaml --out mine-chips",
    ),
    "labels suggest": (
        "bandloom labels suggest landcover.bundle SCENE --n 50 --out points.gpkg",
        "bandloom labels suggest landcover.bundle SCENE --n 20 --labelled points.gpkg --out more.gpkg",
    ),
    "labels map": (
        "bandloom labels map worldcover.tif --from worldcover11 --to dynamicworld9 --out labels.tif",
        "bandloom labels map mine.tif --from mine.yaml --to worldcover11 --mapping mine.csv --out labels.tif",
    ),
    "align": (
        "bandloom align my.yaml shards=shards checkpoint=runs/encoder --out runs/words",
        "bandloom align my.yaml --out runs/words --from-scratch",
    ),
    "zeroshot": (
        "bandloom zeroshot runs/words --classes river,wetland --images scene --out classes.csv",
        "bandloom zeroshot runs/words --classes river,wetland --bake runs/river-or-wetland",
    ),
    "search": (
        "bandloom search runs/words --images shards --index shards.parquet",
        'bandloom search runs/words --index shards.parquet --query "houses beside a lake" --out found',
    ),
    "caption": (
        "bandloom caption train my.yaml language.model=models/small --out runs/caption",
        "bandloom caption generate runs/caption --images scene",
    ),
    "caption train": (
        "bandloom caption train my.yaml language.model=models/small --out runs/caption",
        "bandloom caption train my.yaml trainer.steps=2000 --from-scratch",
    ),
    "caption generate": (
        "bandloom caption generate runs/caption --images scene",
        'bandloom caption generate runs/caption --images scene --question "Is there water?" --out answers.jsonl',
    ),
    "export": (
        "bandloom export runs/landcover --out landcover.bundle",
        "bandloom export runs/landcover --out small.bundle --precision fp32,int8 --embeddings",
    ),
    "bundle": ("bandloom bundle verify landcover.bundle", "bandloom bundle inspect landcover.bundle"),
    "bundle verify": ("bandloom bundle verify landcover.bundle", "bandloom bundle verify /models/landcover.bundle"),
    "bundle inspect": ("bandloom bundle inspect landcover.bundle", "bandloom bundle inspect /models/landcover.bundle"),
    "bundle bench": (
        "bandloom bundle bench landcover.bundle",
        "bandloom bundle bench landcover.bundle --threads 1,4 --seconds 10",
    ),
    "bundle build": (
        "bandloom bundle build landcover.bundle",
        "bandloom bundle build landcover.bundle --backend tensorrt-rtx --compute-capability sm_86,sm_89",
    ),
    "bundle prune": (
        "bandloom bundle prune landcover.bundle --out cpu.bundle --for cpu",
        "bandloom bundle prune landcover.bundle --out h100.bundle --for sm_90",
    ),
    "bundle triton": (
        "bandloom bundle triton landcover.bundle models",
        "bandloom bundle triton landcover.bundle models-fp32 --precision fp32",
    ),
    "predict": (
        "bandloom predict landcover.bundle scene --out map.tif --png --polygons map.gpkg",
        "bandloom predict landcover.bundle data/scenes --out maps --confidence --threads 2",
    ),
    "map": (
        "bandloom map --bbox 14.2,45.9,14.4,46.1 --date 2024-06-01/2024-06-30 --bundle my.bundle --out place --dry-run",
        "bandloom map --bbox 14.2,45.9,14.4,46.1 --date 2024-06-01/2024-06-30 --bundle my.bundle --out place",
    ),
    "assess": ("bandloom assess sample map.tif --out points.gpkg", "bandloom assess score map.tif points.gpkg"),
    "assess sample": (
        "bandloom assess sample map.tif --out points.gpkg",
        "bandloom assess sample map2024.tif --before map2019.tif --total 600 --seed 7 --out changes.csv",
    ),
    "assess agree": (
        "bandloom assess agree points-anna.gpkg points-ben.gpkg",
        "bandloom assess agree points-anna.csv points-ben.csv --out points.csv",
    ),
    "assess score": (
        "bandloom assess score map.tif points.gpkg",
        "bandloom assess score map2024.tif changes.csv --before map2019.tif --out score.json",
    ),
    "polygons": (
        "bandloom polygons map.tif --out map.gpkg",
        "bandloom polygons map.tif --out fields.parquet --least-ha 1 --smooth 2",
    ),
    "zones": (
        "bandloom zones map.tif districts.geojson --name district --out areas.csv",
        "bandloom zones map.tif parcels.gpkg --out parcels-with-areas.gpkg",
    ),
    "similar": (
        "bandloom similar embeddings.tif --at 14.25,45.97 --out similar.tif",
        "bandloom similar embeddings.tif --clusters 12 --out clusters.tif",
    ),
    "qgis": ("bandloom qgis", "bandloom qgis --out /tmp/bandloom_qgis.zip"),
    "serve": (
        "bandloom serve landcover.bundle",
        "bandloom serve landcover.bundle --port 0 --layer landcover=map.tif --limit upload_mb=64",
    ),
    "encoder": ("bandloom encoder list", "bandloom encoder show galileo"),
    "encoder list": ("bandloom encoder list", "bandloom encoder list --help"),
    "encoder show": ("bandloom encoder show galileo", "bandloom encoder show --help"),
    "encoder fetch": (
        "bandloom encoder fetch galileo-nano --to galileo-nano",
        "bandloom encoder fetch galileo-nano --to galileo-nano --yes",
    ),
    "encoder check": ("bandloom encoder check galileo-nano", "bandloom encoder check /models/galileo-nano"),
    "encoder import": (
        "bandloom encoder import galileo-nano --to encoders/galileo-nano",
        "bandloom encoder import galileo-nano --to encoders/galileo-june --month 6",
    ),
    "checkpoint": (
        "bandloom checkpoint push runs/encoder me/encoder --licence apache-2.0 --data-licence 'Copernicus data'",
        "bandloom checkpoint push --help",
    ),
    "checkpoint pull": (
        "bandloom checkpoint pull me/encoder@v1 --to encoder",
        "bandloom checkpoint pull me/encoder --yes",
    ),
    "checkpoint push": (
        "bandloom checkpoint push runs/encoder me/encoder --licence apache-2.0 --data-licence 'Copernicus data'",
        "bandloom checkpoint push runs/encoder me/encoder --licence apache-2.0 --data-licence 'Copernicus data' --send",
    ),
    "view": ("bandloom view map.tif --scene scene", "bandloom view map.tif --scene scene --label points.gpkg"),
    "report": (
        "bandloom report shards --out shards-report.html",
        "bandloom report runs/landcover runs/better --out side-by-side.html",
    ),
    "slurm": (
        "bandloom slurm submit runs/encoder mae.yaml --profile my --nodes 4",
        "bandloom slurm status runs/encoder",
    ),
    "slurm submit": (
        "bandloom slurm submit runs/encoder mae.yaml --profile my --nodes 4 --time 24h",
        "bandloom slurm submit runs/landcover my.yaml trainer.steps=2000 --verb finetune --dry-run",
    ),
    "slurm status": ("bandloom slurm status runs/encoder", "bandloom slurm status --json"),
    "slurm logs": ("bandloom slurm logs runs/encoder -f", "bandloom slurm logs runs/encoder --rank 3"),
    "slurm stop": ("bandloom slurm stop runs/encoder", "bandloom slurm stop /shared/runs/encoder"),
    "slurm resume": ("bandloom slurm resume runs/encoder", "bandloom slurm resume runs/encoder --nodes 8"),
    "slurm check": ("bandloom slurm check --profile my", "bandloom slurm check --profile my --nodes 8 --wait 30m"),
    "slurm array": (
        "bandloom slurm array --parts 16 --profile plain shards build scenes --out shards",
        "bandloom slurm array --parts 4 --at-once 2 --dry-run predict landcover.bundle scenes.txt --out maps",
    ),
}


def add_examples(command: Any, path: str) -> None:
    """Put the examples of a command, and of those inside it, at the end of their help.

    Args:
        command: a click command or group.
        path: what is typed for it after ``bandloom``.
    """
    if path in EXAMPLES:
        command.epilog = "\n\n".join(("Examples:", *EXAMPLES[path]))
    for name, inner in getattr(command, "commands", {}).items():
        add_examples(inner, f"{path} {name}")
