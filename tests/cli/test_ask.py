"""``cerebras-demo ask``: the answer alone on stdout, notes on stderr, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from langchain_cerebras_demo.testing import CutAfter, Gate, Reply, Status

COMMAND = [sys.executable, "-m", "langchain_cerebras_demo", "ask"]


@pytest.fixture
def environment(server):
    """The loopback Cerebras by the variables a user would set."""
    return {**os.environ, "CEREBRAS_BASE_URL": server.base_url, "CEREBRAS_API_KEY": server.key}


def run(*arguments, environment, stdin=""):
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_answer_alone_goes_to_stdout(server, environment):
    """And a line feed; stderr stays empty. Model and system are sent."""
    server.script(Reply(text="Hello Ann"))
    done = run("Greet Ann", "--model", "gpt-oss", "--system", "Be kind.", environment=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello Ann\n", "")
    body = server.requests[0].json
    assert body["model"] == "gpt-oss-120b"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_a_dash_reads_the_question_from_stdin(server, environment):
    """For pipes."""
    assert run("-", environment=environment, stdin="What is up?\n").returncode == 0
    assert server.requests[0].json["messages"] == [{"role": "user", "content": "What is up?\n"}]


def test_json_is_one_object_with_what_is_known(server, environment):
    """Content, reasoning, model, usage and timing."""
    server.script(Reply(text="4.", reasoning="Two and two."))
    done = run("2 + 2?", "--json", environment=environment)
    record = json.loads(done.stdout)
    assert (record["content"], record["reasoning"], record["provider"]) == ("4.", "Two and two.", "cerebras")
    assert (record["model"], record["finish_reason"]) == ("gpt-oss-120b", "stop")
    assert record["usage"]["total_tokens"] > 0
    assert record["time_info"]["total_time"] >= 0


def test_tokens_are_printed_while_the_answer_is_being_written(server, environment):
    """The first words are there before the server has gone on to the rest."""
    gate = Gate(after=2, reply=Reply(deltas=[{"role": "assistant"}, {"content": "first "}, {"content": "second"}]))
    server.script(gate)
    with subprocess.Popen([*COMMAND, "hi"], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(6) == b"first "
        gate.open()
        assert process.stdout.read() == b"second\n"
    assert process.returncode == 0


def test_a_refusal_is_a_sentence_and_exit_code_1(server, environment):
    """No traceback, no key."""
    server.script(Status(401))
    done = run("hi", environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cerebras-demo: AuthenticationError: 401")
    assert "Traceback" not in done.stderr
    assert server.key not in done.stderr


def test_an_interrupted_answer_shows_what_came_and_fails(server, environment):
    """What had been printed stays, the error follows on a line of its own."""
    server.script(CutAfter(events=3, reply=Reply(text="one two three four five six seven eight")))
    done = run("hi", environment=environment)
    assert done.returncode == 1
    assert done.stdout.startswith("one two")
    assert done.stdout.endswith("\n")
    assert "StreamInterruptedError" in done.stderr


def test_without_a_key_it_says_what_to_do(environment):
    """The variable, where to get a key, and --local."""
    del environment["CEREBRAS_API_KEY"], environment["CEREBRAS_BASE_URL"]
    done = run("hi", environment=environment)
    assert done.returncode == 1
    assert "CEREBRAS_API_KEY" in done.stderr
    assert "--local" in done.stderr


@pytest.mark.parametrize("arguments", [[], [""], ["hi", "--nonsense"]])
def test_wrong_usage_is_exit_code_2(environment, arguments):
    """No question, an empty one, an unknown option."""
    assert run(*arguments, environment=environment).returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_is_exit_code_130_and_stops_the_server(server, environment):
    """The connection is closed and nothing but a word is printed."""
    gate = Gate(after=2)
    server.script(gate)
    with subprocess.Popen([*COMMAND, "hi"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert gate.wait_reached(30)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.decode().strip() == "cerebras-demo: interrupted"
    assert server.wait_for_disconnect(5)


def test_a_reader_that_has_gone_is_no_traceback(server, environment):
    """`cerebras-demo ask … | head -c1`."""
    server.script(Reply(text="word " * 50_000))
    with subprocess.Popen([*COMMAND, "hi"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(1)
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert "Exception" not in errors


def test_help_and_version():
    """Plain text, and the version of the package."""
    from langchain_cerebras_demo import __version__

    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--local" in shown
    version = subprocess.run(
        [sys.executable, "-m", "langchain_cerebras_demo", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.strip() == f"cerebras-demo {__version__}"
