"""Sixteen clients at once for a minute: every answer is right, memory stays where it was, nobody sees a 5xx."""

import re
import threading
import time
from collections import Counter

import numpy as np
import pytest
import rasterio

from tests.export.predict.test_map_scene import run
from tests.export.serve.server_process import serving
from tests.export.serve.test_server import get, post
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

pytest.importorskip("uvicorn", reason="pip install 'bandloom[serve]'")

CLIENTS, SECONDS, WARM_S = 16, 60.0, 5.0
WARM_UP = 4  # rounds of all scenes, after which the memory of every part has been taken once
ALLOWED = {200, 429, 503}


class Clients:
    """Threads that ask as fast as they are answered, each with one of several scenes, and check what they get."""

    def __init__(self, server, scenes, maps):
        self.statuses = Counter()
        self.wrong = []
        self._server, self._scenes, self._maps = server, scenes, maps
        self._until = time.monotonic() + SECONDS
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self._threads:
            thread.join()

    def _ask(self, number):
        while time.monotonic() < self._until:
            number = (number + 1) % len(self._scenes)
            status, content = post(self._server, self._scenes[number])
            with self._lock:
                self.statuses[status] += 1
                if status == 200 and not np.array_equal(pixels(content), self._maps[number]):
                    self.wrong.append(number)
            if status != 200:
                time.sleep(0.3)


def pixels(content):
    with rasterio.MemoryFile(content) as memory, memory.open() as file:
        return file.read(1)


def memory_bytes(server, until):
    """Return the median of what the server holds while it is being asked, until a moment."""
    seen = []
    while time.monotonic() < until:
        found = re.search(rb"process_resident_memory_bytes ([\d.e+]+)", get(server, "/metrics")[1])
        assert found is not None
        seen.append(float(found[1]))
        time.sleep(0.5)
    return float(np.median(seen))


@pytest.mark.slow
def test_sixteen_clients_for_a_minute(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    scenes, maps = [], []
    for seed in range(5):
        scene = write_stack(tmp_path / f"{seed}.tif", (150 + 40 * seed, 200), seed=seed)
        assert run("predict", bundle, scene, "--out", tmp_path / f"map{seed}.tif") == 0
        scenes.append(scene.read_bytes())
        with rasterio.open(tmp_path / f"map{seed}.tif") as file:
            maps.append(file.read(1))
    with serving(bundle) as server:
        for _ in range(WARM_UP):
            assert [post(server, scene)[0] for scene in scenes] == [200] * len(scenes)
        with Clients(server, scenes, maps) as clients:
            began = time.monotonic()
            time.sleep(WARM_S)
            before = memory_bytes(server, began + WARM_S + 15)
            time.sleep(max(0.0, began + SECONDS - 15 - time.monotonic()))
            after = memory_bytes(server, began + SECONDS - 1)
        assert server.end() == 0
    assert set(clients.statuses) <= ALLOWED
    assert clients.statuses[200] >= 10, clients.statuses
    assert not clients.wrong
    assert abs(after - before) < 0.05 * before, (before, after, clients.statuses)
