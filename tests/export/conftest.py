"""One real export that several files of this folder look at: tracing a model costs seconds, so it is done once."""

import pytest


@pytest.fixture(scope="session")
def exported_run(tmp_path_factory):
    """Return a model and its bundle in fp32, fp16 and bf16, its encoder included; whoever changes it takes a copy."""
    from bandloom.export.from_torch.export_run import export_run
    from bandloom.export.from_torch.options import ExportOptions
    from tests.export.from_torch.test_export_run import task_model, write_run

    folder = tmp_path_factory.mktemp("exported_run")
    model = task_model()
    write_run(folder / "run", model)
    return model, export_run(
        folder / "run", folder / "bundle", ExportOptions(precisions=("fp16", "bf16"), embeddings=True)
    )
