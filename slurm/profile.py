"""Cluster profiles: partition, GPUs, containers and set-up of a cluster in typed YAML, unknown keys refused."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bandloom.command_line.config import Config, load_config
from bandloom.errors import SlurmError, nearest

_HARMLESS = re.compile(
    r"(CUDA|FI|GLOO|IBV|KMP|LC|MKL|NCCL|OMP|TORCH|UCX)_\w+|PATH|LD_LIBRARY_PATH|PYTHONPATH|LANG|TMPDIR"
)
SHIPPED = Path(__file__).parent / "profiles"


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("must be a single line; write a list of lines instead")
    return text


def _word(text: str) -> str:
    if _one_line(text) != text.strip() or any(c.isspace() for c in text):
        raise ValueError("must be one word without spaces")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
Word = Annotated[str, AfterValidator(_word)]


class Container(Config):
    """The container that the ranks run in; the batch script itself stays on the host."""

    kind: Literal["none", "pyxis", "apptainer"] = Field(default="none", description="how the cluster starts containers")
    image: Line = Field(default="", description="the image: a .sqsh or registry name for pyxis, a .sif for apptainer")
    mounts: tuple[Word, ...] = Field(
        default=(), description="host:container paths; the run and working folders are added"
    )


class Preflight(Config):
    """What every node must pass before the ranks start; one that fails is excluded from its own job."""

    enabled: bool = Field(default=True, description="run the checks at all")
    gpus: bool = Field(default=True, description="check driver, GPU count and uncorrected ECC errors with nvidia-smi")
    shm_gb: float = Field(default=1.0, ge=0, description="free space that /dev/shm must have, in GB")
    clock_skew_s: int = Field(default=60, ge=1, description="how far a node's clock may be from the first node's")
    paths: tuple[Word, ...] = Field(default=(), description="further paths that every node must be able to read")
    command: Line = Field(default="", description="a further check in bash; a non-zero exit marks the node as bad")
    collective: bool = Field(default=True, description="time an all-reduce over all ranks")
    min_gb_s: float = Field(default=0.0, ge=0, description="the all-reduce's least bandwidth in GB/s; 0 accepts any")
    timeout_s: int = Field(default=180, ge=5, description="how long each part may take")


class Profile(Config):
    """A cluster, as the launcher needs to know it."""

    partition: Word | None = Field(default=None, description="partition; the cluster's default when absent")
    account: Word | None = Field(default=None, description="account to charge")
    qos: Word | None = Field(default=None, description="quality of service")
    constraint: Line | None = Field(default=None, description="node features to ask for, such as h100&ib")
    reservation: Word | None = Field(default=None, description="reservation to run in")
    exclude: Word | None = Field(default=None, description="nodes never to use, such as n[13,27]")
    gpus_per_node: int = Field(default=8, ge=0, description="GPUs to ask for on each node")
    gpu_request: Literal["gpus-per-node", "gres"] = Field(default="gpus-per-node", description="how GPUs are asked for")
    gpu_type: Word | None = Field(default=None, description="GPU type as Slurm names it, such as h100")
    ranks_per_node: int | None = Field(default=None, ge=1, description="tasks on a node; by default one a GPU")
    cpus_per_rank: int = Field(default=8, ge=1, description="CPU cores of each task (data workers included)")
    memory: Word = Field(default="0", description="memory a node as Slurm writes it; 0 is all of it")
    exclusive: bool = Field(default=True, description="have the nodes alone")
    time: Word = Field(
        default="24h", description="time limit when --time is not given: 90m, 24h, 2d or Slurm's own form"
    )
    setup: tuple[Line, ...] = Field(default=(), description="bash lines run first on the host: module load, activate")
    sbatch: tuple[Line, ...] = Field(default=(), description="further #SBATCH options, such as --mail-type=FAIL")
    srun: tuple[Line, ...] = Field(
        default=(), description="further options of the ranks' srun, such as --cpu-bind=none"
    )
    env: dict[Word, Line] = Field(default_factory=dict, description="environment of the ranks; NCCL_* live here alone")
    program: Line = Field(default="", description="the bandloom command on the nodes; by default the one that submits")
    container: Container = Field(default=Container(), description="container of the ranks")
    preflight: Preflight = Field(default=Preflight(), description="checks of nodes before the start")
    signal_lead_s: int = Field(default=300, ge=10, description="how long before the time limit a save is asked for")
    startup_s: int = Field(default=1800, ge=1, description="longest time to the first step before it counts as hung")
    hang_s: int = Field(default=900, ge=1, description="longest time without a step before it counts as hung")
    max_failures: int = Field(default=3, ge=1, description="failures at the same step before giving up")
    max_requeues: int = Field(default=100, ge=0, description="attempts after the first before giving up")
    shared_paths: tuple[Word, ...] = Field(default=(), description="paths that all nodes share though they look local")

    @property
    def may_hold_secrets(self) -> bool:
        """Whether ``env`` or ``setup`` gives a value to a name that is not known to be harmless."""
        assigned = [name for line in self.setup for name in re.findall(r"(\w+)=", line)]
        return not all(_HARMLESS.fullmatch(name) for name in (*self.env, *assigned))

    @property
    def tasks_per_node(self) -> int:
        """Ranks on a node: one a GPU unless said otherwise."""
        return self.ranks_per_node or self.gpus_per_node or 1


def load_profile(name: str) -> Profile:
    """Read a profile by path, or by name from the user's folder and then from the shipped ones.

    Raises:
        SlurmError: there is no such profile; the known ones are listed.
        ConfigError: a key or value does not fit.
    """
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return load_config(Profile, Path(name))
    for folder in profile_folders():
        if (path := folder / f"{name}.yaml").is_file():
            return load_config(Profile, path)
    known = sorted({path.stem for folder in profile_folders() for path in folder.glob("*.yaml")})
    raise SlurmError(
        f"there is no profile {name!r}; write {profile_folders()[0] / name}.yaml, "
        f"or use one of {', '.join(known)}.{nearest(name, known)}"
    )


def profile_folders() -> tuple[Path, Path]:
    """Return where profiles are looked for: the user's own first, then the shipped."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "bandloom" / "slurm", SHIPPED
