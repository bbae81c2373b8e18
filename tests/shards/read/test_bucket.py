"""Shards in a bucket: the same samples as from the folder, through a bounded cache that any number share."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest

from bandloom.errors import BandloomError, MissingExtraError, ShardError
from bandloom.shards.read import bucket as bucket_module
from bandloom.shards.read.bucket import Bucket, address_of
from bandloom.shards.read.cache import Cache
from bandloom.shards.read.loader import Loader
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.read.verify import verify


@pytest.fixture(name="cache")
def the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BANDLOOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def several(synthetic, tmp_path_factory):
    """The synthetic places as several tars: one for each scene."""
    from bandloom.shards.build.build import build
    from bandloom.shards.build.plan import BuildOptions

    out = tmp_path_factory.mktemp("several") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bandloom.shards.build.plan.UNIT_SAMPLES", 4)
        build([str(synthetic / "scenes")], out, BuildOptions(120))
    assert len(list(out.glob("*.tar"))) == 6
    return out


@pytest.fixture
def in_memory(several):
    """The same in fsspec's memory; returns its address."""
    files = fsspec.filesystem("memory")
    files.put(str(several), "/set", recursive=True)
    yield "memory://set"
    files.rm("/set", recursive=True)


def pixels(shards):
    return [(shards.entries[i].key, *(g.tobytes() for g in shards.read(i).groups.values())) for i in range(len(shards))]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        (Path("s3://bucket/a/b"), "s3://bucket/a/b"),
        (Path("file:///tmp/a"), "file:///tmp/a"),
        (Path("memory://set"), "memory://set"),
        ("/data/set", None),
        ("C:/data", None),
        (Path("set"), None),
    ],
)
def test_an_address_is_told_from_a_folder_even_after_pathlib_has_folded_its_slashes(written, meant):
    assert address_of(written) == meant


def test_samples_of_a_bucket_are_those_of_the_folder_and_come_once(several, in_memory, cache):
    found = ShardSet(in_memory)
    assert pixels(found) == pixels(ShardSet(several))
    files = fsspec.filesystem("memory")
    for tar in found.manifest["shards"]:
        files.rm(f"/set/{tar['tar']}")
    assert pixels(ShardSet(in_memory)) == pixels(ShardSet(several))  # from the cache alone
    assert not list(cache.glob("*/.*part*"))


def test_file_addresses_and_every_verb_work_too(several, tmp_path, cache, command):
    address = f"file://{several}"
    assert verify(address, deep=True) == []
    out = tmp_path / "out"
    repack = ["repack", "--codec", "speed", "--out", out]
    for verb, *words in (["info"], ["verify", "--deep"], ["stats"], ["show", "0"], repack):
        code, said = command("shards", verb, address, *words)
        assert code == 0, said
    assert pixels(ShardSet(out)) == pixels(ShardSet(several))


def _held_bytes(cache: Path) -> int:
    """Count what the cache holds at one moment, manifests left out; nothing comes or goes under its lock."""
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return sum(path.stat().st_size for path in cache.glob("*/*.*") if path.name != "manifest.json")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_over_a_bucket_gives_the_batches_of_the_folder_within_a_cache_of_two_tars(
    several, in_memory, cache, monkeypatch, workers
):
    local = ShardSet(several)
    largest = max(tar["bytes"] for tar in local.manifest["shards"])
    limit = 2.5 * largest + sum((several / name).stat().st_size for name in ("samples.jsonl", "manifest.json"))
    monkeypatch.setenv("BANDLOOM_CACHE_GB", str(limit / 1e9))
    found = ShardSet(in_memory)
    options = {"seed": 4, "workers": workers, "window_bytes": 1, "crop_px": 60}
    right = islice(Loader(local, local.indices(), 4, **options), 12)
    for got, wanted in zip(islice(Loader(found, found.indices(), 4, **options), 12), right, strict=True):
        assert got.keys == wanted.keys
        np.testing.assert_array_equal(got.groups[10], wanted.groups[10])
        held = _held_bytes(cache)
        assert held <= limit


def test_of_a_set_larger_than_a_window_one_window_is_read_after_the_other_and_all_of_it_once(several):
    found = ShardSet(several)
    sizes = [tar["bytes"] for tar in found.manifest["shards"]]
    loader = Loader(found, found.indices(), 8, workers=0, window_bytes=int(1.5 * max(sizes)))
    batches = list(islice(loader, 6))
    tar_of = {entry.key: entry.shard for entry in found.entries}
    assert [len({tar_of[key] for key in batch.keys}) for batch in batches] == [2] * 6
    for epoch in (batches[:3], batches[3:]):
        assert sorted(key for batch in epoch for key in batch.keys) == sorted(tar_of)
    assert [b.keys for b in batches[:3]] != [b.keys for b in batches[3:]]


def test_the_longest_unused_tar_goes_first(several, cache):
    found = Bucket(f"file://{several}")
    names = sorted(tar["tar"] for tar in found.manifest["shards"])
    sizes = {tar["tar"]: tar["bytes"] for tar in found.manifest["shards"]}
    small = Bucket(f"file://{several}", Cache(cache, sum(sizes[name] for name in names[:3])))
    for age, name in enumerate(names[:3]):
        os.utime(small.fetch(name), (1000 - age, 1000 - age))
    small._touched.clear()
    small.pread(names[2], 10, 0)
    small.fetch(names[3])
    assert {path.name for path in small.folder.glob("*.tar")} >= {names[2], names[3]}
    assert not (small.folder / names[1]).exists()


def test_an_interrupted_download_goes_on_and_what_it_left_is_verified_too(several, cache, monkeypatch):
    monkeypatch.setattr(bucket_module, "_CHUNK_BYTES", 5000)
    found = Bucket(f"file://{several}")
    tar = found.manifest["shards"][0]
    whole, asked = (several / tar["tar"]).read_bytes(), []
    part = found.folder / f".{tar['tar']}.part-{tar['bytes']}"
    read = found._part_of
    monkeypatch.setattr(found, "_part_of", lambda name, begin, end: asked.append(begin) or read(name, begin, end))
    part.write_bytes(whole[:12_345])
    assert found.fetch(tar["tar"]).read_bytes() == whole
    assert asked[0] == 12_345
    (found.folder / tar["tar"]).unlink()
    part.write_bytes(bytes(12_345))
    assert found.fetch(tar["tar"]).read_bytes() == whole
    assert 0 in asked


def test_a_bucket_that_stumbles_is_asked_again(several, cache, monkeypatch):
    found = Bucket(f"file://{several}")
    read, failures = found._part_of, iter([ConnectionResetError("reset"), TimeoutError("late")])

    def stumble(*arguments):
        for failure in failures:
            raise failure
        return read(*arguments)

    monkeypatch.setattr(found, "_part_of", stumble)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert found.fetch(found.manifest["shards"][0]["tar"]).exists()


def test_a_tar_that_changed_in_the_cache_is_fetched_again(several, in_memory, cache):
    found = ShardSet(in_memory)
    wanted = pixels(found)
    for path in cache.glob("*/*.tar"):
        content = bytearray(path.read_bytes())
        content[2000:-2000] = bytes(len(content) - 4000)
        path.write_bytes(content)
    assert pixels(found) == wanted
    index = next(cache.glob("*/samples.jsonl"))
    index.write_text(index.read_text().replace("train", "val"))
    assert pixels(ShardSet(in_memory)) == wanted


def test_a_tar_that_is_wrong_in_the_bucket_is_refused_whole(several, in_memory, cache):
    found = ShardSet(in_memory)
    tar = found.entries[0].shard
    content = bytearray((several / tar).read_bytes())
    content[-1] ^= 1  # padding that no sample reads
    fsspec.filesystem("memory").pipe(f"/set/{tar}", bytes(content))
    with pytest.raises(ShardError, match=r"is not what its manifest says .*upload"):
        found.read(0)
    assert not list(cache.glob("*/0*.tar"))


def test_many_threads_ask_for_one_tar_and_it_is_fetched_once(several, cache, monkeypatch):
    found = Bucket(f"file://{several}")
    name, asked = found.manifest["shards"][0]["tar"], []
    read = found._part_of
    monkeypatch.setattr(found, "_part_of", lambda *a: (asked.append(a), time.sleep(0.1), read(*a))[2])
    threads = [threading.Thread(target=found.fetch, args=(name,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert found.fetch(name).exists()


READ_ALL = """
import hashlib, sys
from bandloom.shards.read.shard_set import ShardSet
shards = ShardSet(sys.argv[1])
digest = hashlib.sha256()
for i in range(len(shards)):
    digest.update(shards.read((i * 7) % len(shards)).groups[10].tobytes())
print(digest.hexdigest())
"""


def test_processes_share_a_cache_that_holds_one_tar_and_a_killed_one_leaves_nothing_in_the_way(several, cache):
    largest = max(path.stat().st_size for path in several.glob("*.tar"))
    limit = largest + (several / "samples.jsonl").stat().st_size
    env = os.environ | {"BANDLOOM_CACHE": str(cache), "BANDLOOM_CACHE_GB": str(limit / 1e9), "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-c", READ_ALL, f"file://{several}"]
    runs = [subprocess.Popen(start, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    time.sleep(1.0)
    runs[0].kill()
    said = [run.communicate(timeout=120)[0] for run in runs]
    assert said[1]
    assert (
        said[1] == said[2] == subprocess.run([*start[:3], str(several)], env=env, capture_output=True, text=True).stdout
    )


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("memory://nowhere", "holds no manifest.json; it is no finished shard folder"),
        ("nosuch://bucket/set", "no protocol that fsspec knows"),
    ],
)
def test_what_is_no_set_is_one_sentence(address, says, cache, command):
    with pytest.raises(BandloomError, match=says):
        ShardSet(address)


def test_a_store_without_its_package_names_the_extra(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'bandloom\[s3\]'"):
        ShardSet("s3://bucket/set")


@pytest.mark.parametrize(("size", "says"), [("none", "expected a number"), ("0", "above 0"), ("1e-9", "does not fit")])
def test_a_cache_that_cannot_hold_a_tar_is_one_sentence(several, cache, monkeypatch, size, says):
    monkeypatch.setenv("BANDLOOM_CACHE_GB", size)
    with pytest.raises(ShardError, match=says):
        ShardSet(f"file://{several}")


def test_a_place_for_the_cache_that_cannot_be_written_is_one_sentence(several, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BANDLOOM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ShardError, match="set BANDLOOM_CACHE"):
        ShardSet(f"file://{several}")


# --- a real S3 server -------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(several, cache, monkeypatch):
    """The shards in a bucket of a local S3 server; returns their address."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'bandloom[s3]'")
    pytest.importorskip("moto", reason="needs moto and flask, the local S3 server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    code = (
        f"from moto.server import ThreadedMotoServer as S; import time; S('127.0.0.1', {port}).start(); time.sleep(999)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            files = fsspec.filesystem("s3")
            files.mkdir("bucket")
            files.put(str(several), "bucket/prefix/", recursive=True)
            held = {name.rpartition("/")[2] for name in files.find("bucket/prefix")}
            assert {path.name for path in several.iterdir()} <= held
            yield files.find("bucket/prefix")[0].rpartition("/")[0]
        finally:
            server.kill()
            fsspec.filesystem("s3").clear_instance_cache()


def _wait_for(port):
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the S3 server did not start")


def test_a_pretraining_config_with_an_s3_address_reads_every_sample_of_the_bucket(several, s3):
    from bandloom.command_line.config import load_config
    from bandloom.pretrain.config import PretrainConfig

    config = load_config(PretrainConfig, None, [f"shards=s3://{s3}"])
    assert not str(config.shards).startswith("s3://"), "pathlib folds the slashes, and the address is still found"
    found = ShardSet(config.shards)
    assert pixels(found) == pixels(ShardSet(several))
    keys = [key for batch in islice(Loader(found, found.indices(), 6), 4) for key in batch.keys]
    assert sorted(keys) == sorted(entry.key for entry in found.entries)
    with pytest.raises(ShardError, match=r"holds no manifest\.json"):
        ShardSet(f"s3://{s3}/nothing")
    assert json.loads((found.path / "manifest.json").read_text())["samples"] == len(found)
    shutil.rmtree(found.path)
