"""The design's one-way streets: which folder may import which, and what must stay free of torch."""

import ast
import re
import subprocess
import sys
from functools import cache
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


# inside a room, where a border is worth a rule: a folder, and which of its own room it may import
INSIDE = {
    "export/bundle": set(),
    "export/runtimes": {"bundle"},
    "export/maps": set(),
    "export/qgis": set(),
    "export/products": {"maps"},
    "export/assess": {"maps"},
    "export/predict": {"bundle", "runtimes", "maps", "products"},
    "export/serve": {"bundle", "runtimes", "predict"},
    "export/from_torch": {"bundle", "runtimes", "predict"},
    "shards/scenes": set(),
    "shards/store": set(),
    "shards/synth": set(),
    "shards/labels": {"scenes"},
    "shards/corpora": {"scenes"},
    "shards/build": {"scenes", "labels", "store", "corpora"},
    "shards/read": {"store", "build"},
    "finetune/model": set(),
    "finetune/data": {"model"},
    "finetune/scores": {"data", "model"},
    "finetune/baselines": {"data", "model", "scores", "training"},
}


def imported_rooms(file: Path) -> set[str]:
    return {room_of(name) for name in imported_names(file) if name.partition(".")[0] == "bandloom"}


@cache  # each file is asked for by several tests
def imported_names(file: Path) -> set[str]:
    """Return every module that ``file`` imports, wherever in the file: a name taken from one counts as its module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(module: str) -> str:
    inner = module.split(".")[1:2]
    return inner[0] if inner and inner[0] in ROOMS else "bandloom"


def sources() -> dict[str, Path]:
    """Return every module of the product by its import name."""
    found = {}
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join(parts if room == "bandloom" else ("bandloom", *parts))] = file
    return found


def test_no_file_imports_a_room_by_a_bare_name_that_a_users_own_file_may_have() -> None:
    for folder in (*ROOMS, "tests", "benchmarks", "docs"):
        for file in (ROOT / folder).rglob("*.py"):
            bare = {name.partition(".")[0] for name in imported_names(file)} & (set(ROOMS) - {"bandloom"})
            assert not bare, f"{file.relative_to(ROOT)} imports {bare}; write bandloom.{min(bare)}"


def test_no_import_goes_in_a_circle() -> None:
    """Wherever in a file an import stands, and whether or not it is for types alone."""
    modules = sources()
    graph = {
        name: {_module(imported_name, modules) for imported_name in imported_names(file)} - {None, name}
        for name, file in modules.items()
    }
    circles = [sorted(part) for part in strong_components(graph) if len(part) > 1]
    assert not circles, circles


def _module(name: str, modules: dict[str, Path]) -> str | None:
    return name if name in modules else name.rpartition(".")[0] if name.rpartition(".")[0] in modules else None


def strong_components(graph: dict) -> list[set[str]]:
    """Return the strongly connected parts of a graph ``{node: {next}}`` (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    parts: list[set[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for after in graph[node]:
            if after not in order:
                visit(after)
                low[node] = min(low[node], low[after])
            elif after in stack:
                low[node] = min(low[node], order[after])
        if low[node] == order[node]:
            cut = stack.index(node)
            parts.append(set(stack[cut:]))
            del stack[cut:]

    for node in graph:
        if node not in order:
            visit(node)
    return parts


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        foreign = imported_rooms(file) - ALLOWED[room] - {room}
        assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}"


@pytest.mark.parametrize("folder", INSIDE)
def test_a_folder_inside_a_room_imports_only_the_folders_below_it(folder: str) -> None:
    room, own = folder.split("/")
    inner = {path.name for path in (ROOT / room).iterdir() if path.is_dir()} - {own}
    for file in (ROOT / folder).rglob("*.py"):
        names = {name.split(".")[2] for name in imported_names(file) if name.startswith(f"bandloom.{room}.")}
        foreign = names & inner - INSIDE[folder]
        assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}"


def test_torch_and_fine_tuning_are_imported_in_one_folder_of_export_alone() -> None:
    for file in (ROOT / "export").rglob("*.py"):
        heavy = {name for name in imported_names(file) if re.match(r"(torch|timm|bandloom\.finetune)\b", name)}
        assert not heavy or file.parent.name == "from_torch", f"{file.relative_to(ROOT)} imports {heavy}"


LIGHT = (
    "bandloom.cli",
    "bandloom.shards.scenes",
    "bandloom.export.predict.map_scene",
    "bandloom.export.runtimes.choose",
    "bandloom.export.assess.score",
    "bandloom.export.products.cli",
    "bandloom.export.serve.cli",
    "bandloom.export.serve.predictions",
    "bandloom.slurm.cli",
    "bandloom.run_state.markers",
)
HEAVY = {"torch", "blosc2", "webdataset", "timm", "transformers", "deepspeed", "onnx", "sklearn", "matplotlib"}
IMPORTED_IN_TURN = """
import importlib, sys
for module in sys.argv[1].split(","):
    importlib.import_module(module)
    if heavy := set(sys.argv[2].split(",")) & set(sys.modules):
        sys.exit(f"{module} imports {', '.join(sorted(heavy))}")
"""


def test_what_runs_without_a_training_environment_imports_neither_torch_nor_codecs() -> None:
    command = [sys.executable, "-c", IMPORTED_IN_TURN, ",".join(LIGHT), ",".join(HEAVY)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 0, finished.stderr


def test_no_module_carries_the_name_of_a_dependency() -> None:
    taken = {"onnx", "torch", "rasterio", "typer", "rich", "yaml", "numpy", "timm", "webdataset", "deepspeed", "types"}
    for room in ROOMS:
        clashes = {file.stem for file in (ROOT / room).rglob("*.py")} & taken
        assert not clashes
