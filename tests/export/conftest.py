"""One real export that several files of this folder look at: tracing a model costs seconds, so it is done once."""

from pathlib import Path

import pytest

from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.from_torch.options import ExportOptions
from tests.made_once import made_once


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory):
    """Return a model and its bundle in fp32, fp16 and bf16, its encoder included; whoever changes it takes a copy."""
    from tests.export.from_torch.test_export_run import ALONE, task_model

    place = made_once(tmp_path_factory, "exported_run", _export)
    return task_model(weights=ALONE), read_bundle(place / "bundle")


def _export(folder: Path) -> None:
    from bandloom.export.from_torch.export_run import export_run
    from tests.export.from_torch.test_export_run import ALONE, task_model, write_run

    write_run(folder / "run", task_model(weights=ALONE))
    options = ExportOptions(precisions=("fp16", "bf16"), embeddings=True, tile_px=36)
    export_run(folder / "run", folder / "bundle", options)
