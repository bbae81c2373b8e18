"""`bandloom encoder`, typed as a user would, against a hub on this machine."""

import hashlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bandloom.cli import main
from bandloom.model.checkpoint import load_encoder
from bandloom.public_encoders import fetch as fetching
from bandloom.public_encoders.family import Download, get_family
from bandloom.public_encoders.fetch import fetch_encoder
from tests.public_encoder_families import tiny_family as tiny_encoder
from tests.public_encoder_folders import real_galileo, tiny_galileo

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(*words: object) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(["encoder", *map(str, words)])
    return ended.value.code


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that serves a tiny Galileo under models/nano of one commit."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    folder = tiny_galileo(tmp_path / "hub")
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            asked.append(self.path)
            file = folder / self.path.rpartition("/")[2]
            if not file.is_file():
                self.send_error(404)
                return
            content = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    plain = huggingface_hub.hf_hub_download
    address, cache = f"http://127.0.0.1:{server.server_port}", tmp_path / "cache"
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda *given, **named: plain(*given, **named, endpoint=address, cache_dir=cache),
    )
    yield folder, asked
    server.shutdown()
    server.server_close()


def tiny_family(folder: Path, **digests: str | None):
    family = get_family("galileo")
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in family.sizes["nano"].files}
    download = Download(repository="me/galileo", folder="models/nano", files=files | digests)
    return family.model_copy(update={"sizes": {"nano": download}})


def test_what_is_fetched_is_what_the_record_says_and_its_origin_lies_beside_it(hub, tmp_path):
    folder, asked = hub
    fetch_encoder(tiny_family(folder), "nano", tmp_path / "got", COMMIT)
    assert all(f"/me/galileo/resolve/{COMMIT}/models/nano/" in path for path in asked)
    assert load_encoder(tmp_path / "got").embed_dim == 32
    origin = json.loads((tmp_path / "got" / fetching.ORIGIN).read_text())
    assert (origin["revision"], origin["licence"]["name"]) == (COMMIT, "MIT")
    assert origin["sha256"]["encoder.pt"] == hashlib.sha256((folder / "encoder.pt").read_bytes()).hexdigest()


def test_a_file_that_is_another_than_the_records_leaves_nothing_behind(hub, tmp_path):
    folder, _ = hub
    family = tiny_family(folder, **{"config.json": "0" * 64})
    with pytest.raises(Exception, match="the record expects 0000"):
        fetch_encoder(family, "nano", tmp_path / "got", COMMIT)
    assert not (tmp_path / "got").exists()


def test_a_file_that_nothing_pins_is_not_fetched(hub, tmp_path):
    folder, asked = hub
    family = tiny_family(folder, **{"encoder.pt": None})
    with pytest.raises(Exception, match=r"nothing pins what encoder\.pt of galileo nano is"):
        fetch_encoder(family, "nano", tmp_path / "got")
    with pytest.raises(Exception, match="40 hexadecimal digits"):
        fetch_encoder(family, "nano", tmp_path / "got", "main")
    assert not asked


def test_nothing_is_fetched_before_the_licence_was_shown_and_accepted(hub, tmp_path, capsys, monkeypatch):
    _, asked = hub
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run("fetch", "galileo-nano", "--to", tmp_path / "got") == 1
    assert "MIT. Copyright (c) 2024 Presto Authors" in capsys.readouterr().out
    assert not asked


def test_a_size_that_is_not_known_names_those_that_are(tmp_path, capsys):
    assert run("fetch", "galileo-giant", "--to", tmp_path / "got", "--yes") == 2
    assert "use one of nano, tiny, base" in capsys.readouterr().err


def test_list_and_show_say_what_a_family_takes(capsys):
    assert run("list") == 0
    assert "galileo" in capsys.readouterr().out
    assert run("show", "galileo") == 0
    assert "verified:" in capsys.readouterr().out


def test_check_compares_with_the_golden_answers_and_says_where_there_are_none(tmp_path, capsys):
    folder = real_galileo()
    assert run("check", folder) == 0
    said = capsys.readouterr().out
    assert "encoder.pt: the record's nano" in said
    assert "window 609U_p3, patch 3: 64 tokens within" in said
    assert run("check", tiny_galileo(tmp_path / "g")) == 0
    said = capsys.readouterr().out
    assert "encoder.pt: not known to the record" in said
    assert "no golden answers lie beside it" in said


def test_import_takes_the_family_that_is_named_where_two_share_their_files(tmp_path):
    folder = tiny_encoder("terramind", tmp_path / "t")
    assert load_encoder(folder).config.family == "terramind"
    assert run("import", folder, "--to", tmp_path / "c", "--family", "terramind_l1c") == 0
    encoder = load_encoder(tmp_path / "c")
    assert (encoder.config.family, len(encoder.family.bands)) == ("terramind_l1c", 13)
    (folder / fetching.ORIGIN).write_text(json.dumps({"family": "terramind_l1c"}))
    assert load_encoder(folder).config.family == "terramind_l1c"


def test_import_fixes_patch_and_month_for_life(tmp_path, capsys):
    folder = tiny_galileo(tmp_path / "g")
    assert run("import", folder, "--to", tmp_path / "c", "--patch", 4, "--month", 9) == 0
    config = load_encoder(tmp_path / "c").config
    assert (config.token_m, config.month) == (40, 8)
    assert run("import", folder, "--to", tmp_path / "d", "--month", 13) == 2
    assert "use 1 (January) to 12" in capsys.readouterr().err
    assert run("check", tmp_path) == 2
    assert "holds no public encoder itself; pass" in capsys.readouterr().err
