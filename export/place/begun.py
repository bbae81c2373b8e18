"""Records of an output folder: what it was begun for, and of what each of its files was made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bandloom.errors import OutputError
from bandloom.export.bundle.bundle import Bundle, sha256_of
from bandloom.files.output import write_json

REQUEST = "request.json"
MADE = "made.json"


def request_of(bundle: Bundle, **asked: Any) -> dict[str, Any]:
    """Return what a command asks for, as JSON types: its options that decide what is mapped, and the model."""
    model = {"bundle": bundle.record.name, "files": dict(bundle.record.files), "contract": bundle.contract.digest()}
    return json.loads(json.dumps({**asked, "model": model}))


class Begun:
    """The records of an output folder."""

    def __init__(self, out: Path, request: Mapping[str, Any]) -> None:
        """Read what lies in ``out``, which may not exist.

        Raises:
            OutputError: it was begun for something else, or is no folder of this command.
        """
        self.out, self._request = out, dict(request)
        record = self._read(REQUEST)
        if record is None and out.exists() and (not out.is_dir() or any(_shown(out))):
            raise OutputError(f"{out} is there already and holds other things; choose another --out.")
        for name, asked in self._request.items() if record else ():
            if record and record.get(name) != asked:
                was = "another model" if name == "model" else f"--{name.replace('_', '-')} {record.get(name)}"
                raise OutputError(f"{out} was begun for {was}; choose another --out, or remove it.")
        self.items: list[str] | None = record["items"] if record else None

    def begin(self, items: Sequence[str]) -> None:
        """Write down what the folder is for and which items were chosen."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.items = list(items)
        write_json(self.out / REQUEST, self._request | {"items": self.items})

    def needs(self, product: Path, sources: Sequence[Path]) -> bool:
        """Tell whether a product is still to be made of its sources; what will be made is noted first.

        Raises:
            OutputError: it is there, and was made of something else or by somebody else.
        """
        digests = {source.name: sha256_of(source) for source in sources}
        made = self._read(MADE) or {}
        if product.exists():
            if made.get(product.name) == digests:
                return False
            raise OutputError(f"{product} is there already, and not made of these maps; remove it, or choose --out.")
        write_json(self.out / MADE, made | {product.name: digests})
        return True

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.out / name
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text())
        except ValueError as cause:
            raise OutputError(f"{path} is damaged; choose another --out, or remove {self.out}.") from cause
        return record


def _shown(folder: Path) -> list[Path]:
    """Return what lies in a folder but for locks and other hidden files."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]
