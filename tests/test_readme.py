"""The README is true: its code blocks run in order, and its two commands have the shape that was promised."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

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
