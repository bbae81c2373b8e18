"""A hub of data sets as a process: serves one folder as ``me/corpus``, prints its port, writes down what it is asked.

``python dataset_hub_process.py FOLDER``; what is asked goes to ``asked.txt`` beside the folder.
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME, COMMIT = "me/corpus", "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The endpoints that huggingface_hub asks to list a data set and to fetch its files."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        with (self.folder.parent / "asked.txt").open("a") as log:
            log.write(f"{self.command} {self.path}\n")
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/datasets/{NAME}/tree/"):
            self._send(json.dumps([self._described(file) for file in self._files()]).encode(), "listing", body)
        elif path.startswith(f"/api/datasets/{NAME}"):
            self._send(json.dumps({"id": NAME, "sha": COMMIT, "siblings": []}).encode(), "listing", body)
        elif (file := self.folder / path.partition(f"/resolve/{COMMIT}/")[2]).is_file() and NAME in path:
            content = file.read_bytes()
            self._send(content, hashlib.sha256(content).hexdigest(), body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def _described(self, file: Path) -> dict[str, object]:
        size, content = file.stat().st_size, file.read_bytes()
        told: dict[str, object] = {"type": "file", "path": file.relative_to(self.folder).as_posix(), "size": size}
        told["oid"] = "0" * 40
        if file.suffix == ".zip":
            told["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 130}
        return told

    def _send(self, content: bytes, tag: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if tag == "listing" else "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{tag}"')
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    Hub.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
