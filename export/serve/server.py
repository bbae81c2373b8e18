"""The server process: a verified bundle, a socket, and an orderly end."""

import contextlib
import ctypes
import logging
import re
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn

from bandloom.command_line.console import logger
from bandloom.errors import BundleError, ConfigError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.predict.map_scene import PredictOptions, scene_opener
from bandloom.export.runtimes.verify import verify
from bandloom.export.serve.app import make_app
from bandloom.export.serve.layers import Layer, open_layer
from bandloom.export.serve.limits import Limits
from bandloom.export.serve.metrics import Metrics
from bandloom.export.serve.patience import patient_protocol
from bandloom.export.serve.predictions import Predictions
from bandloom.export.serve.true_colour import write_true_colour

M_ARENA_MAX, ARENAS = -8, 2  # malloc.h; memory under load then stays within 1 %, otherwise within 6 %


def serve(
    bundle_path: Path,
    options: PredictOptions,
    limits: Limits,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    layers: Mapping[str, Path] | None = None,
    scenes: Mapping[str, str] | None = None,
) -> None:
    """Answer requests until TERM or INT; running ones are ended first.

    Args:
        bundle_path: verified before the first request.
        options: how uploads are mapped.
        limits: what one client may ask.
        host: loopback unless told otherwise; there is no authentication here.
        port: 0 takes a free one and says which.
        layers: GeoTIFFs to draw tiles of, by name.
        scenes: scenes whose true colours are drawn, by name.

    Raises:
        ConfigError: host and port cannot be listened on.
        BundleError: the bundle is refused.
    """
    _require_address(host, port)
    _limit_arenas()
    with _ended_by_term():  # before and after the server's own, orderly, handler
        _serve(bundle_path, options, limits, host, port, layers or {}, scenes or {})


def _require_address(host: str, port: int) -> None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except OSError as cause:
        raise ConfigError(
            f"--host {host} --port {port} cannot be listened on ({cause.strerror or cause}); name an address of this"
            " machine and a free port, such as --port 0."
        ) from cause


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """Let SIGTERM end the process as if it were done, and then leave it to whoever had it before."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(
    bundle_path: Path,
    options: PredictOptions,
    limits: Limits,
    host: str,
    port: int,
    layers: Mapping[str, Path],
    scenes: Mapping[str, str],
) -> None:
    bundle = read_bundle(bundle_path)
    if bundle.contract.answer.continuous:
        raise BundleError(f"the bundle {bundle_path} predicts values, which are not served yet; use bandloom predict.")
    if bundle.contract.dates > 1:
        raise BundleError(f"the bundle {bundle_path} compares two dates, a request brings one; use bandloom predict.")
    runner = verify(bundle, options.precision, threads=options.threads, runtime=options.runtime)
    metrics = Metrics()
    with TemporaryDirectory(prefix="bandloom-serve-") as place:
        drawn = _layers(layers, scenes, options, Path(place))
        uploads = Path(place) / "uploads"
        uploads.mkdir()
        predictions = Predictions(bundle, runner, options, limits, metrics, uploads)
        app = make_app(predictions, drawn, metrics, lambda: server.should_exit)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=patient_protocol(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=limits.drain_s,
            limit_concurrency=limits.connections,
            timeout_keep_alive=max(1, round(limits.header_s)),
        )
        _log_through_ours()
        server = uvicorn.Server(config)
        logger.info("serving %s on %s", bundle.record.name, runner.name)
        server.run()
        predictions.close()
        logger.info("ended")


def parse_names(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Return ``{name: value}`` of ``NAME=VALUE`` texts.

    Raises:
        ConfigError: a text has no name, a name that would not fit into a URL, or one that was used.
    """
    by_name: dict[str, str] = {}
    shape = "write it as NAME=PATH, each name once, of letters, digits, - and _"
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and value and re.fullmatch(r"[A-Za-z0-9_-]+", name)) or name in by_name:
            raise ConfigError(f"{option} is {pair!r}; {shape}.")
        by_name[name] = value
    return by_name


def _layers(
    files: Mapping[str, Path], scenes: Mapping[str, str], options: PredictOptions, place: Path
) -> dict[str, Layer]:
    layers = {name: open_layer(name, path) for name, path in files.items()}
    for name, source in scenes.items():
        picture = place / f"{name}.tif"
        with scene_opener(source, options)() as scene:
            write_true_colour(scene, picture)
        layers[name] = open_layer(name, picture)
    return layers


def _limit_arenas() -> None:
    """Keep glibc from giving every worker thread a heap of its own: freed memory there is seldom used again."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def _log_through_ours() -> None:
    """Let uvicorn speak as the rest of the program does."""
    theirs = logging.getLogger("uvicorn")
    theirs.handlers, theirs.propagate = list(logger.handlers), False
    theirs.setLevel(logging.INFO)
