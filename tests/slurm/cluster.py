"""A real Slurm on one machine: munged, slurmctld and some slurmd in a folder of their own; no systemd, no root needed.

As root each slurmd lives in its own PID, UTS and mount namespace: `hostname` says n1, and one kill is a power loss.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

FINAL = {"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE"}
SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"

SLURM_CONF = """\
ClusterName=bandloomtest
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/run/munge.socket,cred_expire=5
SlurmctldPort={port}
SrunPortRange={srun_first}-{srun_last}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=2,max_array_tasks=1000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={root}/log/jobcomp.log
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=3
CompleteWait=0
InactiveLimit=0
MinJobAge=86400
PropagateResourceLimitsExcept=ALL
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port={slurmd_first}-{slurmd_last} CPUs=4 RealMemory=4000 \
Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes=n[1-{nodes}] Default=YES MaxTime=60 DefaultTime=10 PriorityTier=1 State=UP
PartitionName=urgent Nodes=n[1-{nodes}] MaxTime=60 DefaultTime=10 PriorityTier=10 State=UP
"""
# cred_expire is also the wait of a requeued job (120 s by default). GPUs are links to /dev/null: slurmd wants a
# character device. slurmd sees a lost node after 25 s; the tests tell the controller at once.


class Cluster:
    """A throw-away cluster in ``root``: nodes n1..nN with fake GPUs, partitions main and urgent (which preempts)."""

    def __init__(self, root: Path, port: int, nodes: int = 3, gpus: int = 4) -> None:
        self.root, self.port, self.gpus = root, port, gpus
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.conf = root / "etc" / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": SBIN}
        self.namespaces = (
            subprocess.run(["unshare", "-pfmu", "--mount-proc", "true"], capture_output=True).returncode == 0
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    # ---- bring-up

    def up(self) -> None:
        """Write the configuration once, start whatever does not run, and wait until every node is idle."""
        if not self.conf.exists():
            self._configure()
        if not self._alive("munged"):
            (self.root / "run" / "munge.socket").unlink(missing_ok=True)
            self._start(
                "munged",
                "munged",
                "--foreground",
                "--force",
                f"--socket={self.root}/run/munge.socket",
                f"--key-file={self.root}/etc/munge.key",
                f"--pid-file={self.root}/run/munged.pid",
                f"--seed-file={self.root}/run/munged.seed",
                f"--log-file={self.root}/log/munged.log",
            )
            self.wait_until(lambda: (self.root / "run" / "munge.socket").exists(), 30, "munged's socket")
        if not self._alive("slurmctld"):
            self.start_controller()
        for name in self.names:
            if not self._alive(name):
                self._start_node(name)
        self.wait_until(self._ready, 90, "the nodes")

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.conf))

    def down(self) -> None:
        """Stop every process that was started here; tasks of dead daemons too."""
        if self._alive("slurmctld"):
            self.sh("scancel", "-f", "-u", "root", "--quiet")
            self.sh("scancel", "-f", f"--user={os.getuid()}", "--quiet")
            end = time.monotonic() + 5
            while self.sh("squeue", "-h", "-o", "%A").stdout.strip() and time.monotonic() < end:
                time.sleep(0.1)
        for name in [*self.names, "slurmctld", "munged"]:
            self._end(name, signal.SIGKILL if name in self.names else signal.SIGTERM)
        for name in self.names:
            self._kill_tasks(name)

    def _configure(self) -> None:
        for folder in ("etc", "state", "log", "run", "dev", *(f"spool/{name}" for name in self.names)):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)
        key = self.root / "etc" / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        (self.root / "state").chmod(0o700)
        for number in range(self.gpus):
            (self.root / "dev" / f"gpu{number}").symlink_to("/dev/null")
        host = subprocess.run(["hostname", "-s"], text=True, capture_output=True, check=True).stdout.strip()
        user = subprocess.run(["id", "-un"], text=True, capture_output=True, check=True).stdout.strip()
        count = len(self.names)
        text = SLURM_CONF.format(
            root=self.root,
            host=host,
            user=user,
            port=self.port,
            nodes=count,
            gpus=self.gpus,
            slurmd_first=self.port + 1,
            slurmd_last=self.port + count,
            srun_first=self.port + 100,
            srun_last=self.port + 399,
        )
        self.conf.write_text(text)
        (self.root / "etc" / "gres.conf").write_text(
            f"NodeName=n[1-{count}] Name=gpu File={self.root}/dev/gpu[0-{self.gpus - 1}]\n"
        )
        # no cgroup is touched: the v1 plugin idles on old Slurm, "disabled" exists from 23.11 on
        cgroup = "disabled" if version() >= (23, 11) else "cgroup/v1"
        (self.root / "etc" / "cgroup.conf").write_text(f"CgroupPlugin={cgroup}\n")
        hosts = Path("/etc/hosts").read_text() + "".join(f"127.0.0.1 {name}\n" for name in self.names)
        (self.root / "etc" / "hosts").write_text(hosts)

    def _start_node(self, name: str) -> None:
        command = ["slurmd", "-D", "-f", str(self.conf), "-N", name]
        if self.namespaces:
            hosts = f"mount --bind '{self.root}/etc/hosts' /etc/hosts"
            inside = f"hostname {name}; {hosts}; {' '.join(command)}; exec sleep infinity"
            command = ["unshare", "-pfmu", "--mount-proc", "--kill-child", "bash", "-c", inside]
        self._start(name, *command)

    def _start(self, name: str, *command: str) -> None:
        log = (self.root / "log" / f"{name}.out").open("ab")
        self.processes[name] = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def _alive(self, name: str) -> bool:
        return name in self.processes and self.processes[name].poll() is None

    def _end(self, name: str, number: int) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ready(self) -> bool:
        states = self.sh("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t").stdout
        return len(re.findall(r" (?:idle|mix|alloc|comp)$", states, re.M)) == len(self.names)

    # ---- what tests do to it

    def sh(self, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, text=True, capture_output=True, **options)  # type: ignore[call-overload]

    def job(self, job_id: str) -> dict[str, str]:
        return dict(re.findall(r"(\S+?)=(\S*)", self.sh("scontrol", "show", "job", "-o", str(job_id)).stdout))

    def wait(self, job_id: str, states: set[str] = FINAL, timeout: float = 150) -> dict[str, str]:
        """Poll until the job is in one of ``states`` (``sbatch --wait`` takes up to 42 s for a job of 10 s)."""
        self.wait_until(lambda: self.job(job_id).get("JobState") in states, timeout, f"job {job_id}")
        return self.job(job_id)

    def wait_until(self, condition: object, timeout: float, what: str) -> None:
        end = time.monotonic() + timeout
        while not condition():  # type: ignore[operator]
            if time.monotonic() > end:
                logs = "\n".join(f"== {p.name}\n{p.read_text()[-1500:]}" for p in (self.root / "log").glob("*"))
                raise AssertionError(f"{what} did not come in {timeout} s\n{self.sh('squeue', '-l').stdout}\n{logs}")
            time.sleep(0.1)

    def hosts(self, job_id: str) -> list[str]:
        return self.sh("scontrol", "show", "hostnames", self.job(job_id)["NodeList"]).stdout.split()

    def power_off(self, name: str) -> None:
        """SIGKILL to everything on a node, and tell the controller at once."""
        self._end(name, signal.SIGKILL)
        self._kill_tasks(name)
        self._say_down(name)

    def kill_slurmd(self, name: str) -> None:
        """The daemon alone dies; its tasks live on."""
        for process in self._on_node(name):
            if Path(f"/proc/{process}/comm").read_text().strip() == "slurmd":
                os.kill(process, signal.SIGKILL)
        self._say_down(name)

    def freeze_srun(self, name: str) -> None:
        """The node's srun processes stand still, so that they pass on no bad news."""
        for process in self._on_node(name, "srun"):
            os.kill(process, signal.SIGSTOP)

    def kill_controller(self) -> None:
        self._end("slurmctld", signal.SIGKILL)

    def heal(self) -> None:
        """Bring back every node (ReturnToService=2 makes a returning node idle)."""
        for name in self.names:
            if not self._on_node(name, "slurmd"):
                self._end(name, signal.SIGKILL)
                self._kill_tasks(name)
        for job_id in self.sh("squeue", "-h", "-o", "%A").stdout.split():
            self.sh("scancel", "-f", job_id)
        self.up()
        self.wait_until(lambda: not self.sh("squeue", "-h", "-o", "%A").stdout.strip(), 90, "an empty queue")

    def _say_down(self, name: str) -> None:
        self.sh("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=drill")

    def _on_node(self, name: str, command: str = "") -> list[int]:
        """Processes of this cluster's node: by their arguments (slurmd) or environment (tasks and steps)."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                environment = (folder / "environ").read_bytes().split(b"\0")
                comm = (folder / "comm").read_text().strip()
            except OSError:
                continue
            if comm == "unshare" or f"SLURM_CONF={self.conf}".encode() not in environment:
                continue
            daemon = arguments[:1] == [b"slurmd"] and name.encode() in arguments
            if (daemon or f"SLURMD_NODENAME={name}".encode() in environment) and command in ("", comm):
                found.append(int(folder.name))
        return found

    def _kill_tasks(self, name: str) -> None:
        for process in self._on_node(name):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue


def version() -> tuple[int, int]:
    text = subprocess.run(["slurmd", "-V"], env={**os.environ, "PATH": SBIN}, text=True, capture_output=True).stdout
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def missing() -> str:
    """Say what keeps a cluster from starting here, or nothing."""
    lacking = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=SBIN)]
    return f"no {', '.join(lacking)}: apt-get install --no-install-recommends slurm-wlm munge" if lacking else ""
