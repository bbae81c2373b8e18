import re
from pathlib import Path

from tests.export.tiny_model import write_tiny_bundle

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reader_in_the_bundle_format_page_reproduces_the_golden_chips(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "bundle-format.md").read_text(), re.DOTALL)
    assert "bandloom" not in code
    names = {"BUNDLE": write_tiny_bundle(tmp_path / "tiny")}
    exec(code, names)
    assert names["difference"] <= 1e-4
    assert set(names["classes"]) <= {"water", "crop", "tree", "town"}
