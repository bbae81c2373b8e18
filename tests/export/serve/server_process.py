"""A real server process on a free loopback port, and requests that no HTTP library would send."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

PROGRAM = "from bandloom.cli import main; main()"


class Server:
    """What was started, where it listens, and what it said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self.port = self._wait_for_port()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self, timeout: float = 30) -> int:
        """Ask it to end; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def talk(self, sent: bytes, timeout: float = 10.0) -> bytes:
        """Send bytes as they are and return all that comes back until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as line:
            with contextlib.suppress(OSError):
                line.sendall(sent)
            return read_all(line)

    def _wait_for_port(self) -> int:
        assert self.process.stdout is not None
        for said in self.process.stdout:
            self.said.append(said)
            if found := re.search(r"running on http://[^:]+:(\d+)", said):
                return int(found[1])
        raise AssertionError("the server ended:\n" + "".join(self.said))

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)


@contextlib.contextmanager
def serving(bundle: Path, *arguments: object) -> Iterator[Server]:
    """Start ``bandloom serve`` and end it afterwards."""
    command = [sys.executable, "-c", PROGRAM, "serve", str(bundle), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        server = Server(process)
        yield server
        server.end()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_all(line: socket.socket) -> bytes:
    """Read until the other side closes or says nothing for the socket's timeout."""
    got = b""
    with contextlib.suppress(OSError):
        while part := line.recv(65536):
            got += part
    return got


def head(method: str, path: str, *headers: str, length: int | None = None) -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    lines += [] if length is None else [f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(answer: bytes) -> int:
    """Return the status of an answer; 0 where the line was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
