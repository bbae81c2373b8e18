"""The garbage collector rests while a command is imported, and at its end."""

import gc
import subprocess
import sys

import pytest

from bandloom.command_line.garbage import uncollected


def test_imports_are_not_looked_through_and_what_comes_after_is():
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="broken"), uncollected():
        raise ValueError("broken")
    assert gc.isenabled()


def test_at_the_end_all_is_left_once_and_what_closes_at_exit_still_does(tmp_path):
    code = (
        "import atexit, gc, tempfile\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count() > 1000, gc.isenabled()))\n"
        "from bandloom.cli import main\n"
        "for _ in range(2):\n"
        "    try: main(['--version'])\n"
        "    except SystemExit: pass\n"
        f"kept = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})\n"
        f"file = open({str(tmp_path / 'text')!r}, 'w'); file.write('whole')\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "frozen True True"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("text", "whole")]
