"""The design's one-way streets: which folder may import which, and what must stay free of torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("bandloom", "shards", "pretrain", "finetune", "export", "slurm", "view")
ALLOWED = {
    "bandloom": set(),
    "shards": {"bandloom"},
    "pretrain": {"bandloom", "shards"},
    "finetune": {"bandloom", "shards"},
    "export": {"bandloom", "shards", "finetune"},
    "slurm": {"bandloom"},
    "view": {"bandloom"},
}


def imported_rooms(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        foreign = imported_rooms(file) - ALLOWED[room] - {room}
        assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize(
    "module",
    [
        "bandloom.cli",
        "shards.scenes",
        "export.predict",
        "export.serve.cli",
        "export.serve.predictions",
        "slurm.cli",
        "bandloom.markers",
    ],
)
def test_what_runs_without_a_training_environment_imports_neither_torch_nor_codecs(module: str) -> None:
    heavy = "{'torch', 'blosc2', 'webdataset', 'timm', 'transformers', 'deepspeed', 'onnx', 'sklearn', 'matplotlib'}"
    code = f"import sys, {module}; found = {heavy} & set(sys.modules); sys.exit(', '.join(sorted(found)) or 0)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 0, finished.stderr


def test_no_module_carries_the_name_of_a_dependency() -> None:
    taken = {"onnx", "torch", "rasterio", "typer", "rich", "yaml", "numpy", "timm", "webdataset", "deepspeed", "types"}
    for room in ROOMS:
        clashes = {file.stem for file in (ROOT / room).rglob("*.py")} & taken
        assert not clashes
