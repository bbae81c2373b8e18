"""schemathesis against a running server: requests drawn from the interface that it publishes, good and bad ones.

It lives in an environment of its own (``pip install schemathesis``): ``SCHEMATHESIS=/path/to/st make fuzz``.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.export.serve.server_process import serving
from tests.export.serve.test_server import get, post
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

pytest.importorskip("uvicorn", reason="pip install 'bandloom[serve]'")

HOOKS = Path(__file__).with_name("schema_hooks.py")
EXAMPLES = 60  # a route in the fuzzing phase
FEWEST = 200


@pytest.mark.fuzz
def test_two_hundred_requests_drawn_from_the_published_interface_meet_no_server_error(tmp_path):
    st = os.environ.get("SCHEMATHESIS") or shutil.which("st")
    if not st:
        pytest.skip("set SCHEMATHESIS to the st of an environment with schemathesis")
    bundle = write_tiny_bundle(tmp_path / "tiny")
    scene = write_stack(tmp_path / "scene.tif", (60, 60)).read_bytes()
    limits = [word for bound in ("body_s=2", "in_flight=16") for word in ("--limit", bound)]
    with serving(bundle, *limits) as server:
        command = [
            st,
            "run",
            f"{server.url}/openapi.json",
            "--checks",
            "not_a_server_error",
            "--max-examples",
            str(EXAMPLES),
            "--seed",
            "1",
            "--workers",
            "2",
            "--no-color",
        ]
        hooks = os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=hooks)
        assert server.process.poll() is None
        assert post(server, scene)[0] == 200
        numbers = get(server, "/metrics")[1].decode()
    assert done.returncode == 0, done.stdout[-3000:]
    answered = re.findall(r'bandloom_requests_total\{route="[^"]*",status="(\d+)"\} ([\d.]+)', numbers)
    assert sum(float(count) for _, count in answered) >= FEWEST, answered
    assert not [status for status, _ in answered if status.startswith("5")]
    assert not any("Exception in ASGI" in line for line in server.said)
