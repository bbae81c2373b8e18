"""The console command: one sentence for every mistake."""

import subprocess
import sys

import pytest

from bandloom.cli import VERBS, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bandloom.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_help_names_every_verb_without_torch() -> None:
    code = (
        "import sys; from bandloom.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert all(verb in finished.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_of_the_table_exists_and_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert "Usage" in capsys.readouterr().out


def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["pretrain", str(tmp_path / "absent.yaml")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the config")
    assert "check the path" in error
    assert "Traceback" not in error


def test_an_unknown_verb_is_refused_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["pretrian"])
    assert stopped.value.code == 2
    assert "pretrian" in capsys.readouterr().err
