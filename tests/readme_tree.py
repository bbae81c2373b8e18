"""The README's file tree, made from the first line of every module; ``python tests/readme_tree.py`` rewrites it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("bandloom", "shards", "pretrain", "finetune", "export", "slurm", "view")
BEGIN, END = "<!-- tree -->", "<!-- /tree -->"


def tree() -> str:
    """Return one line a file: its name and its purpose."""
    lines = []
    for room in ROOMS:
        lines.append(f"{room}/  {_purpose(ROOT / room / '__init__.py')}")
        files = [file for file in sorted((ROOT / room).rglob("*.py")) if file.name != "__init__.py"]
        lines += [f"    {file.relative_to(ROOT / room)!s:<28} {_purpose(file)}" for file in files]
    return "\n".join(lines)


def with_tree(readme: str) -> str:
    """Return the README with its tree renewed."""
    head, rest = readme.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n```\n{tree()}\n```\n{END}{tail}"


def _purpose(file: Path) -> str:
    documented = ast.get_docstring(ast.parse(file.read_text())) or ""
    return documented.split("\n\n")[0].replace("\n", " ").replace("``", "").rstrip(".")


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_tree(readme.read_text()))
