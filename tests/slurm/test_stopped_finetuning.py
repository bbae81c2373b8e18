"""A whole fine-tuning with scoring on a real Slurm, disturbed at random moments: it comes back and scores the same."""

import json
import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml
from cluster import Cluster
from conftest import small_profile
from trainers import BANDLOOM, Run

from bandloom.run_state.markers import read_marker
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.synth.write import write_scenes
from bandloom.slurm.submit import plan, submit
from tests.finetune.small_run import CONFIG, WITHIN_S, scores

pytestmark = [pytest.mark.drill, pytest.mark.timeout(4 * 3600)]
EACH = int(os.environ.get("BANDLOOM_DRILL", "30"))  # moments of each signal


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny fine-tuning on synthetic labels."""
    folder = tmp_path_factory.mktemp("labelled") / "data"
    write_scenes(folder, 2, 240, 5, cloud_fraction=0.0)
    options = BuildOptions(side_px=120, labels=str(folder / "labels"), label_set=str(folder / "label_set.yaml"))
    build([str(folder / "scenes")], folder / "tars", options)
    path = folder / "finetune.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"size": "demo", "shards": str(folder / "tars")}))
    return path


def newest(run: Path) -> Path | None:
    """Return the folder of the attempt that owns the run."""
    try:
        return run / "attempts" / (run / "owner").read_text().strip()
    except OSError:
        return None


def test_thirty_moments_each_of_kill_term_and_usr1_change_no_score(cluster: Cluster, config: Path, tmp_path: Path):
    whole = tmp_path / "whole"
    began = time.monotonic()
    subprocess.run([BANDLOOM, "finetune", str(config), "--out", str(whole)], check=True, capture_output=True)
    whole_s, expected = time.monotonic() - began, scores(whole)
    profile = small_profile(
        gpus_per_node=1, cpus_per_rank=1, max_failures=1000, max_requeues=1000, env={"OMP_NUM_THREADS": "1"}
    )
    rng = random.Random(int(os.environ.get("BANDLOOM_DRILL_SEED", "5")))
    ahead = ["KILL", "TERM", "USR1"] * EACH
    rng.shuffle(ahead)
    told, slowest, runs = [], 0.0, 0
    while ahead:
        folder = tmp_path / f"run-{runs}"
        runs += 1
        run = Run(folder, submit(plan(folder, config, profile, time="50m", verb="finetune")), cluster)
        while ahead and not (folder / "DONE").exists():
            cluster.wait_until(partial(_started_or_done, folder), 900, f"an attempt of\n{run.log}")
            due = time.monotonic() + rng.uniform(0.0, 0.6 * whole_s)
            while time.monotonic() < due and not (folder / "DONE").exists():
                time.sleep(0.1)
            attempt = newest(folder)
            if attempt is None or (folder / "DONE").exists() or (attempt / "why").exists():
                continue
            how, beat = ahead.pop(), read_marker(attempt / "heartbeat") or {}
            began = time.monotonic()
            if how == "KILL":
                step = (attempt / "step").read_text().strip()
                cluster.sh("scancel", "--signal=KILL", f"{run.job_id}.{step}")
            else:
                cluster.sh("scancel", f"--signal={how}", "--batch", run.job_id)
            cluster.wait_until((attempt / "why").exists, 120, f"the end of {attempt.name} of\n{run.log}")
            took_s, end = time.monotonic() - began, read_marker(attempt / "end")
            if how != "KILL":
                ended_s = float((end or {}).get("time", time.time())) - (time.time() - took_s)
                slowest = max(slowest, ended_s)
                if beat:
                    assert end, run.log
                    assert end["reason"] in ("stopped", "done"), run.log
            told.append(f"{how} in {beat.get('stage', 'start-up')}: {took_s:.1f} s")
            sys.stdout.write(told[-1] + "\n")
        assert run.end(3000)["JobState"] == "COMPLETED", run.log
        assert scores(folder) == expected
    said = f"{len(told)} disturbances over {runs} runs of {whole_s:.0f} s; the slowest stop took {slowest:.1f} s"
    (tmp_path / "drill.json").write_text(json.dumps({"said": said, "each": told}, indent=1))
    assert slowest < WITHIN_S


def _started_or_done(folder: Path) -> bool:
    """Tell whether the newest attempt's rank has been started and has not ended, or the run is complete."""
    attempt = newest(folder)
    started = attempt is not None and (attempt / "step").exists() and not (attempt / "why").exists()
    return started or (folder / "DONE").exists()
