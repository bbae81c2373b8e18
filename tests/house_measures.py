"""Figures of the layout: ``python -m tests.house_measures [FOLDER]`` measures a checkout, this one by default."""

import ast
import re
import statistics
import sys
from collections import Counter
from pathlib import Path

from tests.test_import_directions import strong_components

ROOMS = ("bandloom", "shards", "pretrain", "finetune", "export", "slurm", "view")


def measures(root: Path) -> dict[str, object]:
    """Return what docs/decisions/house.md compares before and after."""
    files = {file: file.read_text() for room in ROOMS for file in own_files(root / room)}
    trees = {file: ast.parse(text) for file, text in files.items()}
    folders = Counter(file.parent.relative_to(root) for file in files if file.stem != "__init__")
    largest = ", ".join(f"{folder}/ {count}" for folder, count in folders.most_common(5))
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    locals_ = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    untested = [file for file in files if file.stem != "__init__" and not has_test(root, file)]
    return {
        "files": len(files),
        "lines": sum(text.count("\n") for text in files.values()),
        "median lines a file": statistics.median(text.count("\n") for text in files.values()),
        "median lines a function": statistics.median((node.end_lineno or 0) - node.lineno + 1 for node in functions),
        "folders with the most files": largest,
        "import circles": len(circles(root, trees)),
        "modules in import circles": sum(map(len, circles(root, trees))),
        "comparisons of a task with a string": sum(map(compares_task, nodes)),
        "formatter opt-outs": sum(text.count("# fmt: " + "skip") for text in files.values()),
        "locals called each": locals_["each"],
        "locals called found": locals_["found"],
        "files without a test of their own": len(untested),
        "lines of test a line of code": {room: round(share_of_tests(root, room), 2) for room in ROOMS},
    }


def own_files(room: Path) -> list[Path]:
    """Return a room's files; links to the other rooms, which lie in ``bandloom``, are not followed."""
    return [file for file in sorted(room.rglob("*.py")) if not any(part.is_symlink() for part in file.parents)]


def circles(root: Path, trees: dict[Path, ast.AST]) -> list[set[str]]:
    """Return the sets of modules that import each other, types included."""
    modules = {module_name(root, file): tree for file, tree in trees.items()}
    graph = {name: {each for each in imports(tree, modules) if each != name} for name, tree in modules.items()}
    return [part for part in strong_components(graph) if len(part) > 1]


def module_name(root: Path, file: Path) -> str:
    """Return a module's name by its path; the prefix ``bandloom.`` of the rooms in it is left out."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST, modules: dict[str, ast.AST]) -> set[str]:
    """Return the modules of the product that a file imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    plain = {re.sub(rf"^bandloom\.(?=({'|'.join(ROOMS[1:])})\b)", "", name) for name in names}
    exact = {name for name in plain if name in modules}
    return exact - {name for name in exact if any(other.startswith(name + ".") for other in exact)}


def compares_task(node: ast.AST) -> bool:
    """Tell whether a node compares something called task with a string."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    return any(re.search(r"\btask$", ast.unparse(side)) for side in sides) and any(
        isinstance(leaf, ast.Constant) and isinstance(leaf.value, str) for side in sides for leaf in ast.walk(side)
    )


def has_test(root: Path, file: Path) -> bool:
    """Tell whether a test of the file's own lies where the file lies."""
    inner = file.relative_to(root)
    return (root / "tests" / inner.with_name(f"test_{inner.name}")).exists()


def share_of_tests(root: Path, room: str) -> float:
    """Return lines of test over lines of code."""
    tests = sum(file.read_text().count("\n") for file in (root / "tests" / room).rglob("*.py"))
    return tests / max(1, sum(file.read_text().count("\n") for file in own_files(root / room)))


if __name__ == "__main__":
    for name, value in measures(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()).items():
        sys.stdout.write(f"{name}: {value}\n")
