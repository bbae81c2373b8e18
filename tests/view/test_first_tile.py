"""A whole granule's map opens at once: areas counted, the page's record and the first tile."""

import threading
import time
from pathlib import Path

import pytest

from bandloom.view.class_map import ClassMap
from bandloom.view.server import Views, make_server
from benchmarks.view_first_tile import PROMISE_S, SIDE_PX, first_tile_s, write_granule_map


@pytest.mark.slow
def test_the_first_tile_of_a_granule_is_there_within_the_promise(tmp_path: Path):
    path = write_granule_map(tmp_path)
    began = time.process_time()
    views = Views([ClassMap(path)], None)
    opened = time.process_time() - began
    assert sum(land_class.pixels for land_class in views.maps[0].classes) == SIDE_PX**2
    with make_server(views, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        first = first_tile_s(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
    assert first < PROMISE_S
    assert opened + first < 2 * PROMISE_S  # counting every pixel included
