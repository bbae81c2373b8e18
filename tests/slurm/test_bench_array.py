"""The benchmark in parts on a real Slurm: one part is killed, and the table is the one that a machine alone writes."""

import csv
import os
import subprocess
from pathlib import Path

import pytest
import torch
from test_array_drills import run_array
from trainers import BANDLOOM

from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.shards.read.shard_set import ShardSet
from tests.finetune.models import S2
from tests.finetune.public_sets.replicas import eurosat_ms, marine, so2sat
from tests.finetune.public_sets.replicas.writing import prepared
from tests.public_encoder_folders import tiny_galileo

SETS = {"eurosat-ms": lambda root: eurosat_ms.write(root, 6), "mados": marine.write_mados, "so2sat": so2sat.write_v2}
OPTIONS = ("--seeds", "1", "--c-values", "3", "--bootstrap", "20", "--pixels", "200")
PARTS = 4


def two_encoders(folder: Path, shards: ShardSet) -> list[str]:
    """Write one of ours and one in a public family's layout; return the words that name them."""
    torch.manual_seed(0)
    config = EncoderConfig(embed_dim=32, depth=2, num_heads=2)
    save_encoder(folder / "ours", Encoder(config, Statistics.from_mapping(shards.statistics)), [S2], {})
    tiny_galileo(folder / "theirs")
    return [word for name in ("ours", "theirs") for word in ("--encoder", str(folder / name))]


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open(newline="") as file:
        return [line | {"seconds": ""} for line in csv.DictReader(file)]


@pytest.mark.drill
@pytest.mark.timeout(3000)
def test_a_benchmark_in_parts_with_one_part_killed_writes_the_table_of_one_machine(cluster, tmp_path):
    for form, write in SETS.items():
        write(tmp_path / "raw" / form)
        shards = prepared(form, tmp_path / "raw" / form, tmp_path / "sets" / form)
    command = ["bench", "--sets", str(tmp_path / "sets"), *two_encoders(tmp_path, shards), *OPTIONS, "--out"]
    wide = {**os.environ, "COLUMNS": "200"}
    subprocess.run([BANDLOOM, *command, str(tmp_path / "alone")], check=True, capture_output=True, env=wide)
    out = tmp_path / "parts"
    run_array(cluster, tmp_path, PARTS, out, *command, str(out))
    rows = [path.relative_to(out) for path in sorted((out / "rows").rglob("*.json"))]
    assert rows == [path.relative_to(tmp_path / "alone") for path in sorted((tmp_path / "alone/rows").rglob("*.json"))]
    written = {path: (out / path).stat().st_mtime_ns for path in rows}
    said = subprocess.run([BANDLOOM, *command, str(out)], check=True, capture_output=True, text=True, env=wide)
    assert f"{len(rows)} of {len(rows)} rows are scored" in " ".join((said.stdout + said.stderr).split())
    assert written == {path: (out / path).stat().st_mtime_ns for path in rows}  # the last call scores nothing anew
    assert table_of(out) == table_of(tmp_path / "alone")
    assert {line["name"] for line in table_of(out)} >= {"ours", "theirs", "image statistics"}
    assert {line["dataset"].partition(" ")[0] for line in table_of(out)} == set(SETS)
