"""A page on a free port, and what it answers: what the page's tests share."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from bandloom.view.server import Views, make_server


@contextmanager
def served(views: Views) -> Iterator[str]:
    """Serve a page as long as the block runs; yields its address."""
    with make_server(views, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def ask(address: str, path: str) -> bytes:
    """Return what a page answers."""
    with urllib.request.urlopen(address + path) as answer:
        return answer.read()
