"""Shell completion, asked as the shells ask it."""

import os
import subprocess
import sys

import pytest


def complete(shell: str, typed: str, **more: str) -> str:
    words = typed.split(" ")
    asked = {"_BANDLOOM_COMPLETE": f"complete_{shell}", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    asked |= {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    command = [sys.executable, "-m", "bandloom.cli"]
    done = subprocess.run(command, env=os.environ | asked | more, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_verbs_are_completed(shell: str):
    said = complete(shell, "bandloom pre")
    assert "pretrain" in said
    assert "predict" in said
    assert "finetune" not in said


def test_verbs_inside_a_verb_their_options_and_the_words_an_option_takes_are_completed():
    assert complete("bash", "bandloom shards s").split() == ["synth", "stats", "show"]
    assert set(complete("bash", "bandloom shards build --label").split()) == {
        "--labels",
        "--label-set",
        "--label-field",
        "--label-layer",
        "--label-encoding",
        "--label-nodata",
    }
    assert complete("bash", "bandloom shards build --codec ").split() == ["speed", "default", "archive"]
    assert complete("bash", "bandloom shards build --codec a").split() == ["archive"]


def test_completion_can_be_shown_and_installed():
    command = [sys.executable, "-m", "bandloom.cli", "--show-completion", "bash"]
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "_BANDLOOM_COMPLETE=complete_bash" in done.stdout
