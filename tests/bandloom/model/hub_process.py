"""A model hub as a process: serves one folder as ``me/encoder``, prints its port, writes down what was asked of it.

``python hub_process.py FOLDER COMMIT``; ``stated.json`` beside the folder holds the sha256 that it states of weights.
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "me/encoder"


class Hub(BaseHTTPRequestHandler):
    """The endpoints that huggingface_hub asks to look at a repository and to fetch its files."""

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
        file = self.folder / path.rpartition("/")[2]
        if path.startswith(f"/api/models/{NAME}/tree/"):
            tree = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
                for path in sorted(self.folder.iterdir())
            ]
            self._send(json.dumps(tree).encode(), "listing", body)
        elif path.startswith(f"/api/models/{NAME}"):
            self._send(json.dumps(self._listing()).encode(), "listing", body)
        elif path.startswith(f"/{NAME}/resolve/") and file.is_file():
            content = file.read_bytes()
            self._send(content, hashlib.sha256(content).hexdigest(), body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _listing(self) -> dict[str, object]:
        stated = json.loads((self.folder.parent / "stated.json").read_text())
        files: list[dict[str, object]] = []
        for file in sorted(self.folder.iterdir()):
            size = file.stat().st_size
            files.append({"rfilename": file.name, "size": size})
            if file.suffix == ".safetensors":
                files[-1]["lfs"] = {"sha256": stated["sha256"], "size": size, "pointerSize": 130}
        return {"id": NAME, "sha": self.commit, "siblings": files, "cardData": {"license": "cc-by-4.0"}}

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
