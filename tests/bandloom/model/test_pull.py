"""Pulling a checkpoint: a hub in a process of its own, and the command as a user types it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bandloom.errors import CheckpointError
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.pull import Address, read_address
from bandloom.model.statistics import Statistics
from bandloom.sensors import get_sensor

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed; pip install 'bandloom[train]'")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What serves a checkpoint, a machine that may have pulled it, and what was asked of it."""

    def __init__(self, place: Path) -> None:
        self.place, self.folder = place, place / "published"
        sensor = get_sensor("sentinel2-l1c")
        statistics = Statistics(mean=dict.fromkeys(sensor.slots, 0.2), std=dict.fromkeys(sensor.slots, 0.1))
        torch.manual_seed(0)
        encoder = Encoder(EncoderConfig(embed_dim=32, depth=1, num_heads=2), statistics)
        save_encoder(self.folder, encoder, [sensor], {})
        (self.folder / "run_me.py").write_text("raise SystemExit('never fetched')\n")
        self.state(hashlib.sha256((self.folder / "model.safetensors").read_bytes()).hexdigest())
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).parents[2] / "hub_process.py", self.folder, COMMIT],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = f"http://127.0.0.1:{self.process.stdout.readline().strip()}"

    def state(self, sha256: str) -> None:
        """Say of the weights that they have this sha256."""
        (self.place / "stated.json").write_text(json.dumps({"sha256": sha256}))

    @property
    def asked(self) -> list[str]:
        log = self.place / "asked.txt"
        return log.read_text().splitlines() if log.is_file() else []

    def bandloom(self, *words: object, answer: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bandloom.cli", *map(str, words)],
            env=os.environ | self.machine() | environment,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def machine(self) -> dict[str, str]:
        home = {"HF_HOME": str(self.place / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return {"HF_ENDPOINT": self.address, "HF_HUB_OFFLINE": "0", "COLUMNS": "400"} | home


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    served = Hub(tmp_path_factory.mktemp("hub"))
    yield served
    served.process.terminate()
    served.process.communicate()


def test_a_checkpoint_is_shown_asked_for_fetched_and_named_by_its_address_afterwards(hub: Hub, tmp_path: Path):
    before = hub.bandloom("embed", "hf://me/encoder", tmp_path, "--out", tmp_path / "e.tif")
    assert before.returncode == 2
    assert "run `bandloom checkpoint pull me/encoder` first" in before.stderr
    assert not hub.asked

    refused = hub.bandloom("checkpoint", "pull", "hf://me/encoder", answer="n\n")
    assert refused.returncode != 0
    assert f"me/encoder, commit {COMMIT}, licence: cc-by-4.0" in refused.stdout
    assert not any("/resolve/" in line for line in hub.asked)

    pulled = hub.bandloom("checkpoint", "pull", "me/encoder", "--yes", "--to", tmp_path / "copy")
    assert pulled.returncode == 0, pulled.stderr
    for name in ("config.json", "model.safetensors", "README.md"):
        digest = hashlib.sha256((hub.folder / name).read_bytes()).hexdigest()
        assert f"{name}: sha256 {digest}" in pulled.stdout
        assert hashlib.sha256((tmp_path / "copy" / name).read_bytes()).hexdigest() == digest
    assert not any("run_me.py" in line for line in hub.asked if "/resolve/" in line)

    seen = len(hub.asked)
    script = (
        "import sys; from pathlib import Path; from bandloom.model.checkpoint import checkpoint_folder, load_encoder\n"
        "print(*(load_encoder(checkpoint_folder(Path(address))).embed_dim for address in sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "hf://me/encoder", f"hf://me/encoder@{COMMIT}"],
        env=os.environ | hub.machine() | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("32 32"), done.stderr
    assert len(hub.asked) == seen
    own, copy = load_encoder(hub.folder), load_encoder(tmp_path / "copy")
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), copy.parameters(), strict=True))


def test_weights_that_are_not_what_the_hub_states_are_refused(hub: Hub, tmp_path: Path):
    hub.state("0" * 64)
    done = hub.bandloom("checkpoint", "pull", "me/encoder", "--yes", HF_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "model.safetensors has another sha256 than stated" in done.stderr


def test_offline_means_offline_and_an_unknown_name_is_one_sentence(hub: Hub):
    seen = len(hub.asked)
    done = hub.bandloom("checkpoint", "pull", "me/encoder", "--yes", HF_HUB_OFFLINE="1")
    assert (done.returncode, len(hub.asked)) == (2, seen)
    assert "HF_HUB_OFFLINE is set" in done.stderr
    done = hub.bandloom("checkpoint", "pull", "me/nothing", "--yes")
    assert done.returncode == 2
    assert "hf://me/nothing cannot be fetched" in done.stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("me/x", Address("me/x", None)),
        ("hf://me/x", Address("me/x", None)),
        ("hf:/me/x@v1.0", Address("me/x", "v1.0")),
        ("hf://me/x@refs/pr/1", Address("me/x", "refs/pr/1")),
    ],
)
def test_an_address_is_read_as_it_is_written_or_as_a_path_leaves_it(text: str, address: Address):
    assert read_address(text) == address


@pytest.mark.parametrize("text", ["x", "hf://x", "hf://a/b/c", "me/x@", "me x/y", ""])
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(CheckpointError, match="is no address on a hub; write it as hf://OWNER/NAME"):
        read_address(text)
