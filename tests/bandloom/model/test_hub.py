"""Publishing a checkpoint: what is shown, what is sent, and what never leaves the machine."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml

from bandloom.cli import main
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.model_card import without_paths
from bandloom.model.statistics import Statistics
from bandloom.sensors import get_sensor

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed; pip install 'bandloom[train]'")
SCORES = {
    "time": 1.0,
    "step": 40,
    "kind": "score",
    "ridge": 0.61,
    "knn": 0.58,
    "ridge_RGB": 0.42,
    "floor_majority": 0.2,
    "floor_random_weights": 0.5,
}
TERMS = ("--licence", "apache-2.0", "--data-licence", "Copernicus Sentinel data")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining as it lies on disk, with a small encoder."""
    place = tmp_path_factory.mktemp("runs") / "encoder"
    sensor = get_sensor("sentinel2-l1c")
    statistics = Statistics(mean=dict.fromkeys(sensor.slots, 0.2), std=dict.fromkeys(sensor.slots, 0.1))
    encoder = Encoder(EncoderConfig(embed_dim=32, depth=1, num_heads=2), statistics)
    save_encoder(place / "checkpoint", encoder, [sensor], {"shards": "/data/secret/place/shards", "steps": 40})
    (place / "config.yaml").write_text(yaml.safe_dump({"objective": {}}))
    (place / "metrics.jsonl").write_text(json.dumps(SCORES) + "\n")
    return place


def push(*words: object) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(["checkpoint", "push", *map(str, words)])
    return ended.value.code


def test_a_dry_run_shows_a_card_that_strangers_can_judge(run_folder: Path, capsys: pytest.CaptureFixture[str]):
    assert push(run_folder, "me/encoder", *TERMS) == 0
    card = capsys.readouterr().out
    for shown in (
        "license: apache-2.0",
        "## Frozen features",
        "| baseline: random weights | 0.500 |",
        "## On fewer bands",
        "| RGB | 0.420 |",
        "## Limits",
        "Copernicus Sentinel data",
        "- steps: 40",
    ):
        assert shown in card
    assert "secret" not in card


class _Hub(BaseHTTPRequestHandler):
    """What the client asks of a hub for small files."""

    received: dict[str, bytes]
    asked: list[dict]

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/repos/create"):
            self.asked.append(json.loads(body))
            self._answer({"url": f"http://{self.headers['Host']}/me/encoder"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.received[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer(
                {"commitUrl": f"http://{self.headers['Host']}/me/encoder/commit/1", "commitOid": "1", "success": True}
            )
        else:  # the card's head, to be checked
            self._answer({"errors": [], "warnings": []})

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):  # a commit comes in chunks
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_GET(self) -> None:
        self._answer({"id": "me/encoder", "siblings": [], "sha": "0" * 40})

    def _answer(self, record: dict) -> None:
        content = json.dumps(record).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[str, type[_Hub]]]:
    handler = type("Hub", (_Hub,), {"received": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()


def test_what_is_sent_is_a_checkpoint_that_loads(run_folder: Path, hub, tmp_path: Path):
    address, handler = hub
    command = [
        sys.executable,
        "-m",
        "bandloom.cli",
        "checkpoint",
        "push",
        str(run_folder),
        "me/encoder",
        *TERMS,
        "--send",
    ]
    environment = os.environ | {
        "HF_ENDPOINT": address,
        "HF_TOKEN": "hf_test",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert handler.asked[0].get("private", handler.asked[0].get("visibility")) in (True, "private")
    assert set(handler.received) == {"README.md", "config.json", "model.safetensors"}
    (tmp_path / "got").mkdir()
    for name, content in handler.received.items():
        (tmp_path / "got" / name).write_bytes(content)
        assert b"secret" not in content
    sent, own = load_encoder(tmp_path / "got"), load_encoder(run_folder / "checkpoint")
    assert all(torch.equal(a, b) for a, b in zip(sent.parameters(), own.parameters(), strict=True))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["none", "me/x"], "holds no finished checkpoint"), (["RUN", "x", "--send"], "write it as OWNER/NAME")],
)
def test_what_cannot_be_pushed_is_one_sentence(run_folder: Path, capsys, words, sentence):
    assert push(*[run_folder if word == "RUN" else word for word in words], *TERMS) == 2
    assert sentence in capsys.readouterr().err


def test_a_hub_that_does_not_answer_is_one_sentence(run_folder: Path, tmp_path: Path):
    command = [sys.executable, "-m", "bandloom.cli", "checkpoint", "push", str(run_folder), "me/x", *TERMS, "--send"]
    environment = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_TOKEN": "hf_test",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: the hub did not take me/x")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("at /home/me/runs/one, then", "at one, then"),
        ("reflectance 1/2 and https://a.org/b/c", "reflectance 1/2 and https://a.org/b/c"),
        ("me/x", "me/x"),
    ],
)
def test_paths_of_this_machine_are_cut_to_their_last_name(text: str, kept: str):
    assert without_paths(text) == kept
