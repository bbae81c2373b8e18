import io

import pytest

from bandloom.console import console, table


def test_brackets_in_names_and_logs_stay_what_they_are(monkeypatch: pytest.MonkeyPatch):
    said = io.StringIO()
    monkeypatch.setattr(console, "file", said)
    for text in ("[/w/gloo/pair.cc:537] Read error [127.0.0.1]:7860", "a[bold]b"):
        console.print(text, soft_wrap=True)
        console.print(table("", ("why",), [(text,)]), soft_wrap=True, width=200)
    assert said.getvalue().count("[/w/gloo/pair.cc:537] Read error [127.0.0.1]:7860") == 2
    assert said.getvalue().count("a[bold]b") == 2
