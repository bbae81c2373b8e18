"""What is where, from docstrings: README's folders and docs/files.md. ``python tests/readme_tree.py`` renews both."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("bandloom", "shards", "pretrain", "finetune", "export", "slurm", "view")
BEGIN, END = "<!-- tree -->", "<!-- /tree -->"
BESIDE = {
    "tests": "Mirrors the folders above",
    "benchmarks": "One script a figure, each beside a baseline",
    "docs": "Tutorials, formats, results, decisions",
}


def folders() -> str:
    """Return one line a folder: its name and its purpose."""
    told = {room: _purpose(ROOT / room / "__init__.py") for room in ROOMS} | BESIDE
    return "```\n" + "\n".join(f"{name + '/':<12}{purpose}" for name, purpose in told.items()) + "\n```"


def files() -> str:
    """Return a table a folder, with one row a file."""
    return "\n\n".join(_table(room) for room in ROOMS)


def with_tree(page: str, tree: str) -> str:
    """Return a page with its tree renewed."""
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n{tree}\n{END}{tail}"


PAGES = {"README.md": folders, "docs/files.md": files}


def _table(room: str) -> str:
    return "\n\n".join(_folder(folder) for folder in _packages(ROOT / room))


def _packages(room: Path) -> list[Path]:
    return sorted(file.parent for file in room.rglob("__init__.py"))


def _folder(folder: Path) -> str:
    name = folder.relative_to(ROOT)
    rows = [f"| `{file.name}` | {_purpose(file)} |" for file in sorted(folder.glob("*.py")) if file.stem != "__init__"]
    depth = "#" * min(4, 1 + len(name.parts))
    head = [f"{depth} {name}/", "", _purpose(folder / "__init__.py") + ".", ""]
    return "\n".join([*head, "| file | what it holds |", "|---|---|", *rows] if rows else head[:-1])


def _purpose(file: Path) -> str:
    documented = ast.get_docstring(ast.parse(file.read_text())) or ""
    return documented.split("\n\n")[0].replace("\n", " ").replace("``", "`").replace("|", r"\|").rstrip(".")


if __name__ == "__main__":
    for name, tree in PAGES.items():
        page = ROOT / name
        page.write_text(with_tree(page.read_text(), tree()))
