"""The README's commands for many prompts are true; its Python blocks run with all the others."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.support.processes import environment, run_command

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_commands_run_on_the_embedded_model(tmp_path, monkeypatch):
    """The first answers, the second finds all done."""
    commands = re.findall(r"^\$ cerebras-demo (bulk .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    (tmp_path / "words.csv").write_text("word\nrain\nsnow\n")
    monkeypatch.chdir(tmp_path)
    said = []
    for command in commands:
        done = run_command(*shlex.split(command), variables=environment())
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    assert "2 rows answered, none failed" in said[0]
    assert "2 answered before, 0 rows answered" in said[1]
    records = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(records) == 2
    assert all(record["content"] and record["error"] is None for record in records)
