"""The trainers that the drills disturb: the project's own pretraining, or a toy that keeps the same promises."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from cluster import Cluster
from conftest import losses

from bandloom.run_state.markers import read_marker
from bandloom.slurm.profile import Profile
from bandloom.slurm.submit import check, plan, submit

FAULTY = Path(__file__).parent / "faulty.py"
BANDLOOM = str(Path(sys.executable).parent / "bandloom")
STEPS = 40
SAVE_EVERY = 10


@dataclass
class Run:
    """A submitted run."""

    folder: Path
    job_id: str
    cluster: Cluster

    def wait_for_save(self, timeout: float = 900) -> None:
        self.cluster.wait_until((self.folder / "saved").exists, timeout, f"a save of\n{self.log}")

    def end(self, timeout: float = 1500) -> dict[str, str]:
        try:
            return self.cluster.wait(self.job_id, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{self.log}\n{error}") from None

    @property
    def saved_step(self) -> int:
        return (read_marker(self.folder / "saved") or {"step": 0})["step"]

    @property
    def log(self) -> str:
        path = self.folder / "slurm" / "job.log"
        return path.read_text() if path.exists() else "(no log)"


@dataclass(frozen=True)
class Trainer:
    """A verb and its config, saved every ten of forty steps, every step logged."""

    verb: str
    config: dict[str, object]

    @property
    def program(self) -> str:
        return f"{sys.executable} {FAULTY}"

    def write_config(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.verb}.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return path

    def submit(self, cluster: Cluster, run: Path, profile: Profile, nodes: int, minutes: int) -> Run:
        config = self.write_config(run.parent)
        planned = plan(run, config, profile, nodes=nodes, time=f"{minutes}m", verb=self.verb)
        check(planned)
        return Run(run, submit(planned), cluster)

    def run_undisturbed(self, folder: Path, ranks: int = 4) -> dict[int, float]:
        """The losses of the same training in plain processes, without Slurm."""
        run, config = folder / "run", self.write_config(folder)
        environment = {
            **os.environ,
            "WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
            "MASTER_PORT": str(10000 + os.getpid() % 20000),
            "BANDLOOM_ATTEMPT": "1.0",
        }
        run.mkdir()
        command = [sys.executable, str(FAULTY), self.verb, str(config), "--out", str(run)]
        each = [{**environment, "RANK": str(r), "LOCAL_RANK": str(r)} for r in range(ranks)]
        processes = [subprocess.Popen(command, env=variables) for variables in each]
        assert [process.wait(900) for process in processes] == [0] * ranks
        return losses(run)


def toy() -> Trainer:
    return Trainer("toy", {"trainer": {"steps": STEPS, "snapshot_every": SAVE_EVERY, "log_every": 1, "batch_size": 8}})


def pretraining(shards: Path, engine: str) -> Trainer:
    """The project's own pretraining, as small as it gets, on an engine."""
    trainer = {
        "steps": STEPS,
        "snapshot_every": SAVE_EVERY,
        "log_every": 1,
        "batch_size": 8,
        "workers": 0,
        "engine": {"kind": engine, "precision": "fp32", "warmup_steps": 5},
    }
    return Trainer("pretrain", {"shards": str(shards), "size": "demo", "crop_px": 60, "trainer": trainer})


def bandloom_slurm(verb: str, run: Path, *arguments: str) -> str:
    """What `bandloom slurm VERB RUN ...` prints."""
    answer = subprocess.run([BANDLOOM, "slurm", verb, str(run), *arguments], text=True, capture_output=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout
