"""A file server with byte ranges, as object stores have, in a process of its own: GDAL waits with the lock held."""

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Ranges(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        path, asked = Path(self.translate_path(self.path)), self.headers.get("Range", "")
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        first, _, last = asked.removeprefix("bytes=").partition("-")
        begin, end = (int(first), min(int(last), len(content) - 1)) if asked else (0, len(content) - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {begin}-{end}/{len(content)}")
        self.send_header("Content-Length", str(end + 1 - begin))
        self.end_headers()
        self.wfile.write(content[begin : end + 1])


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranges, directory=sys.argv[1]))
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
