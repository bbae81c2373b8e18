"""A few synthetic places as shards, for whole runs."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six places of 240 pixels, as samples of 120."""
    from bandloom.shards.build.build import build
    from bandloom.shards.build.plan import BuildOptions
    from bandloom.shards.synth.write import write_scenes

    place = tmp_path_factory.mktemp("pretrain")
    write_scenes(place / "synth", 6, 240, 0)
    options = BuildOptions(120, labels=str(place / "synth" / "labels"), label_set=str(place / "synth/label_set.yaml"))
    build([str(place / "synth" / "scenes")], place / "set", options)
    return place / "set"
