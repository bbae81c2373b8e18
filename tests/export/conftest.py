"""One real export that several files of this folder look at: tracing a model costs seconds, so it is done once."""

import pytest

from bandloom.export.bundle.bundle import read_bundle


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory):
    """Return a model and its bundle in fp32 and fp16, its encoder included; whoever changes it takes a copy."""
    from bandloom.export.from_torch.tile_sizes import in_tiles
    from tests.export.from_torch.test_export_run import ALONE, exported_once, task_model

    return in_tiles(task_model(weights=ALONE), 108), read_bundle(exported_once(tmp_path_factory) / "landcover.bundle")
