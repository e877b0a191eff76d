"""Shell completion: with the variables that shells set, and in a real bash."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from langchain_cerebras_demo.cli import app
from langchain_cerebras_demo.cli.options import EFFORTS, model_names
from langchain_cerebras_demo.local.weights import SMOLLM2
from langchain_cerebras_demo.wire.request import check_parameter


def complete(run, line):
    """Return bash's completions for the last word of a line."""
    words = f"cerebras-demo {line}"
    last = len(words.split(" ")) - 1
    done = run(_CEREBRAS_DEMO_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(last))
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("mo", ["models"]),
        ("ask -m gpt", ["gpt-oss-120b", "gpt-oss"]),
        ("chat --model qwen-3.8-", ["qwen-3.8-27b"]),
        ("ask -m nothing", []),
        ("ask --reasoning ", ["none", "low", "medium", "high"]),
        ("ask --sch", ["--schema"]),
        ("bulk -o top_", ["top_p="]),
        ("bulk -o service", [f"service_tier={tier}" for tier in ("auto", "default", "flex", "priority")]),
    ],
)
def test_commands_options_models_and_aliases_complete(run, line, offered):
    """Of models those that are served."""
    assert complete(run, line) == offered


COMMANDS = ("ask", "chat", "bulk", "models", "keys", "doctor")


def test_a_letter_means_one_thing_in_all_commands():
    """And a name has the same letter everywhere."""
    letters, names = {}, {}
    for command in typer.main.get_command(app).commands.values():
        for parameter in command.params:
            long = next((word for word in parameter.opts if word.startswith("--")), None)
            short = next((word for word in parameter.opts if word.startswith("-") and not word.startswith("--")), None)
            if long is not None:
                names.setdefault(long, set()).add(short)
            if short is not None:
                letters.setdefault(short, set()).add(long)
    assert {letter: meanings for letter, meanings in letters.items() if len(meanings) > 1} == {}
    assert {name: shorts for name, shorts in names.items() if len(shorts) > 1} == {}


@pytest.mark.parametrize("columns", [40, 80])
def test_help_fits_the_terminal(columns):
    """Of every command; that of ``bulk`` needs 46 columns."""
    for command in (None, *COMMANDS):
        if command == "bulk" and columns < 46:
            continue
        shown = CliRunner().invoke(app, [*([command] if command else []), "--help"], terminal_width=columns).output
        assert max(map(len, shown.splitlines())) <= columns, command


def test_help_names_the_size_of_the_download():
    """That of the weights of the embedded model."""
    shown = CliRunner().invoke(app, ["ask", "--help"], terminal_width=200).output
    assert f"no key; its first use downloads {SMOLLM2.wheel_bytes / 1e6:.0f} MB." in shown


def test_retired_models_are_not_offered():
    """Nor are their aliases."""
    assert "llama3.1-8b" not in model_names()
    assert "llama-3.1-8b" not in model_names()


@pytest.mark.parametrize("effort", EFFORTS)
def test_the_efforts_are_the_apis(effort):
    """Completed words are accepted."""
    assert check_parameter("reasoning_effort", effort) == effort


@pytest.mark.filterwarnings("ignore:.*forkpty.*:DeprecationWarning")  # pexpect's, from Python 3.12 on
@pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_by_the_tab_key(tmp_path):
    """With the script that --show-completion prints."""
    pexpect = pytest.importorskip("pexpect")
    command = tmp_path / "cerebras-demo"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m langchain_cerebras_demo "$@"\n')
    command.chmod(0o755)
    root = str(Path(__file__).parents[2])
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": root, "PS1": "ready$ ", "TERM": "dumb"}
    child = pexpect.spawn(
        "bash", ["--norc", "--noprofile"], env={**os.environ, **variables}, encoding="utf-8", timeout=30
    )
    try:
        child.expect_exact("ready$ ")
        child.sendline('eval "$(cerebras-demo --show-completion bash)"')
        child.expect_exact("ready$ ")
        child.send("cerebras-demo ask -m qwen-3.8-\t")
        child.expect_exact("qwen-3.8-27b")
    finally:
        child.close(force=True)
