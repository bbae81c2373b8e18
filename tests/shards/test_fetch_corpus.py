"""Fetching a corpus: a hub of data sets in a process of its own, and the command as a user types it."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shards.corpora.replica import SIDE, write_ssl4eo_v11

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed; pip install 'bandloom[train]'")
NAME = "ssl4eos12_train_seasonal_data_{:06d}.zarr.zip"
SERVER = Path(__file__).parents[1] / "hub_process.py"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Three files of a corpus, a radar file and a picture beside them, and the address that serves them."""
    place = tmp_path_factory.mktemp("hub")
    folder = place / "published"
    for number in range(1, 4):
        write_ssl4eo_v11(folder / "train/S2L1C" / NAME.format(number), [f"000000{number}"], "S2L1C")
    (folder / "train/S1GRD").mkdir()
    (folder / "train/S1GRD" / NAME.format(1)).write_bytes(b"radar")
    (folder / "README.md").write_text("card")
    process = subprocess.Popen([sys.executable, SERVER, folder, COMMIT], stdout=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
    home = {"HF_HOME": str(place / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment = os.environ | home | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "COLUMNS": "400"}

    def bandloom(*words):
        command = [sys.executable, "-m", "bandloom.cli", *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)

    bandloom.folder, bandloom.log = folder, place / "asked.txt"
    yield bandloom
    process.terminate()
    process.communicate()


WORDS = ("shards", "fetch", "--corpus", "ssl4eo-s12-v1.1", "--repository", "me/corpus")


def test_a_dry_run_prints_files_and_bytes_and_fetches_nothing(hub, tmp_path):
    said = hub(*WORDS, "--out", tmp_path / "out", "--dry-run")
    assert said.returncode == 0, said.stderr
    sizes = {path.name: path.stat().st_size for path in (hub.folder / "train/S2L1C").iterdir()}
    for name, size in sizes.items():
        assert f"train/S2L1C/{name}  {size:,} bytes" in said.stdout
    assert f"3 files, {sum(sizes.values()):,} bytes" in said.stdout
    assert "CC-BY-4.0" in said.stdout
    assert "S1GRD" not in said.stdout
    assert not (tmp_path / "out").exists()
    assert not any("/resolve/" in line for line in hub.log.read_text().splitlines())


@pytest.mark.slow
def test_parts_fetch_every_file_once_and_what_is_whole_is_kept(hub, tmp_path):
    out = tmp_path / "out"
    for part in ("1/2", "2/2"):
        done = hub(*WORDS, "--out", out, "--part", part)
        assert done.returncode == 0, done.stdout + done.stderr
    for file in (hub.folder / "train/S2L1C").iterdir():
        copy = out / "train/S2L1C" / file.name
        assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(file.read_bytes()).digest()
    asked = [line for line in hub.log.read_text().splitlines() if line.startswith("GET") and "/resolve/" in line]
    assert len(asked) == len(set(asked)) == 3
    again = hub(*WORDS, "--out", out)
    assert again.returncode == 0
    after = [line for line in hub.log.read_text().splitlines() if line.startswith("GET") and "/resolve/" in line]
    assert after == asked
    changed = out / "train/S2L1C" / NAME.format(2)
    changed.write_bytes(b"x" * changed.stat().st_size)
    assert hub(*WORDS, "--out", out).returncode == 0
    assert changed.read_bytes() == (hub.folder / "train/S2L1C" / changed.name).read_bytes()
    built = hub("shards", "build", out, "--side", SIDE, "--out", tmp_path / "shards")
    assert built.returncode == 0, built.stdout + built.stderr
    assert json.loads((tmp_path / "shards/manifest.json").read_text())["samples"] == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--corpus", "ssl4eo-s12-v1.1", "--repository", "me/nothing"), "cannot be fetched"),
        (("--corpus", "ssl4eo-s12-v1.1", "--repository", "me/corpus", "--only", "*.tar"), "has no file like *.tar"),
    ],
)
def test_what_a_hub_does_not_have_is_refused_with_a_sentence(hub, tmp_path, words, sentence):
    said = hub("shards", "fetch", "--out", tmp_path / "out", *words)
    assert said.returncode == 2, said.stdout
    assert sentence in said.stderr + said.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--corpus", "bigearthnet"), "is not published on the Hugging Face hub"),
        ((), "needs --corpus, or --bbox and --dates"),
        (("--corpus", "ssl4eo-s12-v1.1", "--bbox", "1,2,3,4"), "--bbox and --dates are of catalogues"),
    ],
)
def test_what_cannot_be_fetched_is_refused_with_a_sentence(command, tmp_path, words, sentence):
    code, said = command("shards", "fetch", "--out", tmp_path / "out", *words)
    assert (code, sentence in " ".join(said.split())) == (2, True)
