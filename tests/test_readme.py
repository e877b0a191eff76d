"""The README is correct: its code blocks run in order as a reader would paste them, and it is short."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_two_commands_are_one_bare_line_each():
    """One asks the embedded model, one runs the tests; nothing to edit, no prompt sign in front."""
    first, second = [text for kind, text in BLOCKS if kind == "sh"]
    for command in (first, second):
        assert command.count("\n") == 1
        assert not command.startswith(("$", "#"))
    assert "cerebras-demo ask" in first
    assert "--local" in first
    assert "pytest" in second


def test_it_is_read_in_a_few_minutes():
    """Under 900 words, code and tables included."""
    assert len(README.split()) < 900


COMMANDS = next(text for kind, text in BLOCKS if kind == "bash").splitlines()


def test_the_lines_of_the_command_line_can_be_pasted():
    """Each asks the embedded model, if any; no comment, which zsh would pass on; the conversation comes last.

    Every file that a line reads is there or was written by a line above it.
    """
    there = set()
    for line in COMMANDS:
        words = shlex.split(line)
        assert "#" not in line
        command = words[words.index("cerebras-demo") + 1] if "cerebras-demo" in words else None
        assert ("--local" in words) == (command in {"ask", "chat", "bulk"}), line
        files = {word for word in words if re.fullmatch(r"[\w-]+\.(md|json|jsonl|csv)", word)}
        written = {words[place + 1] for place, word in enumerate(words) if word == ">"}
        written |= {word for word in files if command == "bulk" and word.startswith("answers")}
        assert files - written <= there, line
        there |= written
    assert shlex.split(COMMANDS[-1])[:2] == ["cerebras-demo", "chat"]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("embedded")
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_lines_of_the_command_line_run(tmp_path):
    """Twice in one folder, with no key: only ``doctor`` fails, which says that there is none."""
    pytest.importorskip("xllamacpp")
    named = f'cerebras-demo() {{ "{sys.executable}" -m langchain_cerebras_demo "$@"; }}\nset -o pipefail\n'
    lines = [re.sub(r"(.*cerebras-demo (\w+).*)", r"\1 || echo FAILED \2", line) for line in COMMANDS]
    for _ in range(2):
        script = named + "\n".join(lines)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment(CI="1"),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=400,
            check=False,
        )
        assert re.findall(r"FAILED (\w+)", done.stdout) == ["doctor"], done
        assert "Traceback" not in done.stderr
        assert len((tmp_path / "answers.csv").read_text().splitlines()) >= 3


@pytest.mark.xdist_group("embedded")
@pytest.mark.usefixtures("brief_model")
async def test_every_python_block_runs(capsys):
    """One after the other in one namespace, as in a notebook, on the embedded model."""
    namespace = {}
    blocks = [text for kind, text in BLOCKS if kind == "python"]
    assert len(blocks) > 3
    for text in blocks:
        code = compile(text, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result
    assert len(capsys.readouterr().out) > 100
