"""A copy of code and config at submission: a job that waits for hours must not run what was edited meanwhile."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import bandloom

ROOMS = ("bandloom", "shards", "pretrain", "finetune", "export", "slurm", "view")
_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def project_root() -> Path:
    """Return the folder that holds the packages."""
    return Path(bandloom.__file__).resolve().parent.parent


def copy_code(target: Path) -> None:
    """Copy the package into ``target``, replacing what is there, with a note of the commit that it comes from.

    The rooms' folders lie in the package through links (docs/decisions/names.md); the copy holds the files themselves.
    """
    root = project_root()
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(root / "bandloom", fresh / "bandloom", ignore=_NOT_CODE)
    (fresh / "SNAPSHOT.json").write_text(json.dumps(origin(), indent=1) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def origin() -> dict[str, Any]:
    """Return the commit and the uncommitted difference of the project, as far as git knows them."""
    ours = bool(_git("ls-files", "bandloom/__init__.py"))  # an environment may lie in somebody else's repository
    return {
        "version": bandloom.__version__,
        "commit": (_git("rev-parse", "HEAD").strip() or None) if ours else None,
        "difference": (_git("diff", "HEAD", "--", *ROOMS) or None) if ours else None,
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(project_root()), *arguments]
    try:
        return subprocess.run(command, text=True, capture_output=True, timeout=30, check=False).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
