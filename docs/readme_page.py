"""The README is the site's first page: said once, with its links as they are inside the site."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def on_page_read_source(page: Any, config: Any) -> str | None:
    """Give ``index.md`` the README's text; leave every other page as it is."""
    if page.file.src_uri != "index.md":
        return None
    text = (ROOT / "README.md").read_text()
    text = re.sub(r"\[docs/([\w-]+)\.md\]", r"[\1]", text.replace("](docs/", "]("))
    return text.replace("[CONTRIBUTING.md](CONTRIBUTING.md)", "`CONTRIBUTING.md`")
