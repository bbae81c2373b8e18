"""A hub as a process: serves one folder as a model and as a data set, prints its port, writes down what it is asked.

``python hub_process.py FOLDER COMMIT``; what is asked goes to ``asked.txt`` beside the folder. ``stated.json`` there,
where it lies, holds the sha256 that the hub states of large files.
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAMES = {"models": "me/encoder", "datasets": "me/corpus"}
LARGE = (".safetensors", ".zip")


class Hub(BaseHTTPRequestHandler):
    """The endpoints that huggingface_hub asks to look at a repository, to list it and to fetch its files."""

    folder: Path
    commit: str

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        with (self.folder.parent / "asked.txt").open("a") as log:
            log.write(f"{self.command} {self.path}\n")
        path = self.path.partition("?")[0]
        name = next((name for name in NAMES.values() if name in path), "nobody")
        asked = path.partition(f"/{name}")[2]
        file = self.folder / asked.removeprefix("/resolve/").partition("/")[2]
        if path.startswith("/api/") and asked.startswith("/tree/"):
            self._send(json.dumps([self._described(file) for file in self._files()]).encode(), "listing", body)
        elif path.startswith("/api/") and name != "nobody":
            self._send(json.dumps(self._repository(name)).encode(), "listing", body)
        elif asked.startswith("/resolve/") and file.is_file():
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
        size, name = file.stat().st_size, file.relative_to(self.folder).as_posix()
        told: dict[str, object] = {"type": "file", "path": name, "rfilename": name, "size": size, "oid": "0" * 40}
        if file.suffix in LARGE:
            stated = self.folder.parent / "stated.json"
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            digest = json.loads(stated.read_text())["sha256"] if stated.exists() else digest
            told["lfs"] = {"oid": digest, "sha256": digest, "size": size, "pointerSize": 130}
        return told

    def _repository(self, name: str) -> dict[str, object]:
        files = [self._described(file) for file in self._files()]
        return {"id": name, "sha": self.commit, "siblings": files, "cardData": {"license": "cc-by-4.0"}}

    def _send(self, content: bytes, tag: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if tag == "listing" else "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{tag}"')
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    Hub.folder, Hub.commit = Path(sys.argv[1]), sys.argv[2]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
