"""The smallest trainer that keeps every promise of a run folder: a linear model over gloo.

toy CONFIG [trainer.KEY=VALUE...] --out RUN [--dry-run]
"""

import json
import os
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from bandloom.run_state.markers import EXIT_STOPPED, RunMarkers, read_marker

if TYPE_CHECKING:
    import torch


def train(run: Path, steps: int, save_every: int, scoring_s: float) -> int:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=600))
    markers = RunMarkers(run)
    markers.listen()
    if rank == 0:
        markers.claim()
    dist.barrier()
    weights, start = load(run)
    for step in range(start + 1, steps + 1):
        loss = one_step(weights, step, rank)
        stop = torch.tensor([float(markers.stop_requested())])
        dist.all_reduce(stop)
        if rank == 0:
            with (run / "metrics.jsonl").open("a") as out:
                out.write(json.dumps({"step": step, "kind": "train", "loss": loss}) + "\n")
        markers.beat(step, rank, loss=loss, total=steps)
        if step % save_every == 0 or stop.item() or step == steps:
            markers.check_owner()
            save(run, weights, step, rank)
            if rank == 0:
                markers.saved(step, 0.01)
            dist.barrier()
        if stop.item():
            if rank == 0:
                markers.write_end("stopped", step, EXIT_STOPPED)
            dist.barrier()
            return EXIT_STOPPED
    end = time.monotonic() + scoring_s
    while time.monotonic() < end:  # what follows the last step beats without a step
        markers.beat(steps, rank, total=steps)
        time.sleep(0.5)
    if rank == 0:
        markers.write_end("done", steps)
    dist.barrier()
    return 0


def one_step(weights: "torch.Tensor", step: int, rank: int) -> float:
    import torch
    import torch.distributed as dist

    draw = torch.Generator().manual_seed(step * 1000 + rank)
    inputs = torch.randn(8, len(weights), generator=draw)
    error = inputs @ weights - inputs.sum(1)
    gradient = inputs.T @ error / len(error)
    both = torch.cat([gradient, (error**2).mean()[None]])
    dist.all_reduce(both)
    both /= dist.get_world_size()
    weights -= 0.05 * both[:-1]
    return both[-1].item()


def load(run: Path) -> "tuple[torch.Tensor, int]":
    import torch

    record = read_marker(run / "toy.json")
    return (
        (torch.tensor(record["weights"], dtype=torch.float64).float(), record["step"])
        if record
        else (torch.zeros(5), 0)
    )


def save(run: Path, weights: "torch.Tensor", step: int, rank: int) -> None:
    if rank == 0:
        (run / "toy.tmp").write_text(json.dumps({"step": step, "weights": weights.double().tolist()}))
        os.replace(run / "toy.tmp", run / "toy.json")


def main() -> None:
    words = [word for word in sys.argv[2:] if word != "--dry-run"]
    run = Path(words.pop(words.index("--out") + 1))
    config = yaml.safe_load(Path(words[0]).read_text())["trainer"]
    config |= {
        k.removeprefix("trainer."): yaml.safe_load(v) for k, _, v in (w.partition("=") for w in words if "=" in w)
    }
    if unknown := set(config) - {"steps", "snapshot_every", "log_every", "batch_size", "scoring_s"}:
        sys.exit(f"error: the config has the unknown key {unknown.pop()!r}.")
    if "--dry-run" in sys.argv:
        return
    try:
        code = train(run, config["steps"], config["snapshot_every"], config.get("scoring_s", 0.0))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # a teardown that waits for the others would hide the death
    sys.stdout.flush()
    os._exit(code)
