"""The documentation builds as a site: every link and anchor holds, every documented module can be read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_site_builds_without_a_warning(tmp_path: Path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed; pip install 'bandloom[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / "site" / "reference.html").read_text()
    for name in ("bandloom.sensors.Sensor", "bandloom.shards.read.shard_set.ShardSet", "bandloom.export.bundle.bundle"):
        assert f'id="{name}' in reference
    first = (tmp_path / "site" / "index.html").read_text()  # the README, its links as they are inside the site
    assert "Train on labels of your own" in first
    assert 'href="tutorial-labels.html"' in first
    outside = "https://fonts.googleapis.com"
    assert outside not in first
