"""Fixtures that run a command in its own process, with pipes or in a real pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest

from tests.support.processes import run_command, start_command

THEIRS = {"COLUMNS", "LINES", "NO_COLOR", "PYTHONUNBUFFERED"}  # unbuffered, no output is left for the end


@pytest.fixture
def environment(server, tmp_path):
    """Return the environment of a user of the loopback Cerebras, without a history file."""
    kept = {name: value for name, value in os.environ.items() if name not in THEIRS}
    mine = {"CEREBRAS_BASE_URL": server.base_url, "CEREBRAS_API_KEY": server.key, "TERM": "xterm"}
    return {**kept, **mine, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONIOENCODING": "utf-8", "CI": "1"}


@pytest.fixture
def run(environment):
    """Runs a command in pipes, to its end.

    With ``fresh`` it runs in a Python that has loaded nothing before; ``output`` is a file in place of the pipe for stdout.
    """

    def run(*arguments, stdin=b"", fresh=False, output=None, **variables):
        mine = {**environment, **variables}
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        return run_command(*arguments, variables=mine, stdin=given, forked=not fresh, output=output)

    return run


@pytest.fixture
def start(environment):
    """Starts a command in pipes and leaves it running; ``fresh`` as for ``run``, ``before`` is Python that runs before it.

    Its standard input has ended, unless ``piped`` says that the test writes into it: ``ask`` waits for the end.
    """
    with contextlib.ExitStack() as started:

        def start(*arguments, fresh=False, before="", piped=False):
            process = start_command(*arguments, variables=environment, forked=not fresh, before=before)
            if not piped:
                process.stdin.close()
                process.stdin = None
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


@pytest.fixture
def terminal(environment):
    """Starts a command in a pseudo-terminal; ``fresh`` as for ``run``."""
    pytest.importorskip("pexpect", reason="needs the dev group")
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals of this kind")
    from tests.support.terminals import start_in_terminal

    with contextlib.ExitStack() as opened:

        def terminal(*arguments, columns=80, fresh=False, **variables):
            child = start_in_terminal(
                *arguments, variables={**environment, **variables}, columns=columns, forked=not fresh
            )
            opened.callback(child.close, force=True)
            return child

        yield terminal


@pytest.fixture
def end():
    """Return the remaining output of a command in a terminal, and its exit code."""

    def end(child):
        said = child.read()
        child.wait()
        return said.replace("\r\n", "\n"), child.exitstatus

    return end
