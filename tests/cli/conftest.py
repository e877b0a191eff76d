"""A command of its own process, in pipes and in a real pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "langchain_cerebras_demo"]
ENTER = "\r"
THEIRS = {"COLUMNS", "LINES", "NO_COLOR", "PYTHONUNBUFFERED"}  # unbuffered, no output is left for the end


@pytest.fixture
def environment(server, tmp_path):
    """The loopback Cerebras by the variables a user would set, and nobody's history."""
    kept = {name: value for name, value in os.environ.items() if name not in THEIRS}
    mine = {"CEREBRAS_BASE_URL": server.base_url, "CEREBRAS_API_KEY": server.key, "TERM": "xterm"}
    return {**kept, **mine, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONIOENCODING": "utf-8", "CI": "1"}


@pytest.fixture
def run(environment):
    """Runs a command in pipes, to its end."""

    def run(*arguments, stdin=b"", **variables):
        done = subprocess.run(
            [*COMMAND, *arguments],
            env={**environment, **variables},
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done

    return run


@pytest.fixture
def start(environment):
    """Starts a command in pipes and leaves it running."""
    started = []

    def start(*arguments):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen([*COMMAND, *arguments], env=environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):  # what was written and never read
                pipe.close()


@pytest.fixture
def terminal(environment):
    """Starts a command in a pseudo-terminal."""
    pexpect = pytest.importorskip("pexpect", reason="needs the dev group")
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals of this kind")
    opened = []

    def terminal(*arguments, columns=80, **variables):
        child = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *arguments],
            env={**environment, **variables},
            dimensions=(24, columns),
            encoding="utf-8",
            timeout=30,
            echo=True,
        )
        opened.append(child)
        return child

    yield terminal
    for child in opened:
        child.close(force=True)


@pytest.fixture
def end():
    """What a terminal's command still says, and its exit code."""

    def end(child):
        said = child.read()
        child.wait()
        return said.replace("\r\n", "\n"), child.exitstatus

    return end
