"""The child process: the wire that its engine speaks, and how it follows its parent to the end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from langchain_cerebras_demo import local
from langchain_cerebras_demo.local import LOCAL_HEADERS, LOCAL_MODEL, LocalServer, to_local

ROOT = Path(local.__file__).parents[2]
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor signals")


def ask(server, path="/chat/completions", *, key=None, **body):
    """The open answer of one request over the standard library's client; close its connection when read."""
    url = urlsplit(server.base_url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    headers = {**LOCAL_HEADERS, "Authorization": f"Bearer {server.api_key if key is None else key}"}
    if body:
        connection.request("POST", url.path + path, json.dumps(to_local(body)), headers)
    else:
        connection.request("GET", url.path + path, headers=headers)
    answer = connection.getresponse()
    answer.connection = connection
    return answer


def ask_json(server, path="/chat/completions", **body):
    answer = ask(server, path, **body)
    try:
        return answer.status, json.loads(answer.read())
    finally:
        answer.connection.close()


def user(text):
    return [{"role": "user", "content": text}]


def is_gone(pid):
    """Whether the process is no more; a container's first process may leave it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_gone_within(pid, seconds):
    deadline = time.monotonic() + seconds
    while not is_gone(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# The wire


def test_a_plain_answer_is_a_chat_completion_of_the_model(embedded):
    """With text, usage and the model's own name whatever was asked for."""
    status, answer = ask_json(embedded, model="gpt-oss-120b", messages=user("Say hi"), max_completion_tokens=5)
    assert status == 200
    assert answer["model"] == LOCAL_MODEL == embedded.model == "smollm2-135m"
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 5


def test_a_stream_ends_with_its_usage_and_done(embedded):
    """Without having been asked for the usage, as at Cerebras."""
    answer = ask(embedded, messages=user("Say hi"), max_completion_tokens=5, stream=True)
    lines = [line.strip() for line in answer if line.strip()]
    answer.connection.close()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert lines[-1] == b"data: [DONE]"
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert chunks[-1]["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_call_calls(embedded, choice):
    """The tool's name and arguments that parse, even after a turn of the assistant and with a format asked for."""
    numbers = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    add = {"name": "add", "parameters": {"type": "object", "properties": numbers, "required": ["a", "b"]}}
    status, answer = ask_json(
        embedded,
        messages=[*user("What is 2 plus 3?"), {"role": "assistant", "content": "Well", "reasoning": "hm"}],
        tools=[{"type": "function", "function": add}],
        tool_choice=choice,
        response_format={"type": "json_object"},
        temperature=0,
    )
    assert status == 200
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "add"
    assert json.loads(call["function"]["arguments"]).keys() == {"a", "b"}


def test_a_round_trip_of_a_tool_is_understood(embedded):
    """Null content, calls and results pass the template."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        *user("Add 2"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "4"}]},
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    status, _ = ask_json(embedded, messages=messages, tools=tools, max_completion_tokens=3)
    assert status == 200


def test_a_last_message_of_the_assistant_is_not_echoed(embedded):
    """llama.cpp would take it for the beginning of the answer."""
    messages = [*user("Count."), {"role": "assistant", "content": "Zwiebelfisch"}]
    _, answer = ask_json(embedded, messages=messages, max_completion_tokens=3, temperature=0)
    assert not answer["choices"][0]["message"]["content"].startswith("Zwiebelfisch")


def test_a_wrong_key_is_refused(embedded):
    """Other programs of the machine can reach the port."""
    status, answer = ask_json(embedded, messages=user("hi"), key="wrong")
    assert status == 401
    assert answer["error"]["type"] == "authentication_error"


def test_pages_of_a_browser_are_kept_out_and_there_is_no_page(embedded):
    """Any site open in a browser can send requests to loopback; the answer must not allow it to read."""
    url = urlsplit(embedded.base_url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
    connection.request("GET", "/", headers={**LOCAL_HEADERS, "Origin": "https://evil.example"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.headers["Access-Control-Allow-Origin"] not in {"*", "https://evil.example"}
    assert b"<html" not in body.lower()


def test_a_stop_breaks_off_a_running_stream_and_does_not_wait_for_it():
    """The child needs no killing for that."""
    with LocalServer(context_tokens=1024) as server:
        answer = ask(server, messages=user("Tell me a long story"), stream=True)
        answer.readline()
        child = server._child
        server.stop()
        with pytest.raises((http.client.HTTPException, OSError)):
            answer.read()
        answer.connection.close()
    assert child.process.returncode == 0


# How a parent can end


class Parent:
    """A Python process that starts a server, prints the pid of its child and then does the given lines."""

    def __init__(self, lines, *options, start="server = LocalServer(context_tokens=1024)"):
        source = (
            "import os, signal, subprocess, sys, threading, time\n"
            "from langchain_cerebras_demo.local import LocalServer, find_server, shared_server\n"
            f"{start}\n"
            "server.start()\n"
            "print(server._child.process.pid, flush=True)\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", *options, "-c", source + lines],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that a signal can go to the group, as a terminal sends Ctrl-C
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        line = self.process.stdout.readline()
        self.child = int(line) if line.strip() else None

    def result(self):
        """Exit code, the rest of stdout, stderr; the child has two seconds to follow."""
        out, err = self.process.communicate(timeout=60)
        assert self.child is not None, err
        assert is_gone_within(self.child, 2)
        return self.process.returncode, out, err


@pytest.mark.parametrize("start", ["server = LocalServer(context_tokens=1024)", "server = shared_server()"])
def test_a_parent_that_comes_to_its_end_is_silent(start):
    """Whether its server was its own or the shared one, and stopped or not."""
    assert Parent("", start=start).result() == (0, "", "")


def test_a_parent_that_comes_to_its_end_with_a_request_in_flight_is_silent():
    """On a daemon thread, which in the engine's own process meant a crash."""
    lines = (
        "import http.client, json\n"
        "from urllib.parse import urlsplit\n"
        "url, arrived = urlsplit(server.base_url), threading.Event()\n"
        "def stream():\n"
        "    connection = http.client.HTTPConnection(url.hostname, url.port)\n"
        "    body = {'messages': [{'role': 'user', 'content': 'a story'}], 'stream': True}\n"
        "    headers = {'Authorization': 'Bearer ' + server.api_key}\n"
        "    connection.request('POST', '/v1/chat/completions', json.dumps(body), headers)\n"
        "    answer = connection.getresponse()\n"
        "    answer.readline()\n"
        "    arrived.set()\n"
        "    try:\n"
        "        while answer.readline(): pass\n"
        "    except (OSError, http.client.HTTPException): pass\n"
        "    time.sleep(60)\n"
        "threading.Thread(target=stream, daemon=True).start()\n"
        "arrived.wait()\n"
    )
    assert Parent(lines).result() == (0, "", "")


@pytest.mark.parametrize(
    ("lines", "code", "last_line"),
    [
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("sys.exit(3)", 3, ""),
        ("os._exit(4)", 4, ""),
    ],
)
def test_the_child_follows_a_parent_that_leaves(lines, code, last_line):
    """By an exception, by sys.exit, and by os._exit, which runs no exit handler."""
    returned, out, err = Parent(lines).result()
    assert (returned, out, err.strip().rpartition("\n")[2]) == (code, "", last_line)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_child_follows_a_parent_that_is_killed(number):
    """Nothing of the parent's runs any more."""
    parent = Parent("time.sleep(60)")
    parent.process.send_signal(number)
    assert parent.result() == (-number, "", "")


@posix
def test_ctrl_c_belongs_to_the_parent():
    """A terminal sends it to the whole group: the child serves on where the parent does, and goes where it goes."""
    lines = (
        "try:\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    try:\n"
        "        server._child.process.wait(0.3)\n"
        "    except subprocess.TimeoutExpired:\n"
        "        print('alive', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = Parent(lines)
    assert parent.process.stdout.readline() == "ready\n"
    os.killpg(parent.process.pid, signal.SIGINT)
    assert parent.process.stdout.readline() == "alive\n"
    os.killpg(parent.process.pid, signal.SIGINT)
    code, _, err = parent.result()
    assert code == -signal.SIGINT
    assert err.strip().endswith("KeyboardInterrupt")


@posix
def test_a_forked_process_has_servers_of_its_own():
    """It neither uses nor ends nor waits for its parent's child, starts one of its own, and ends in silence."""
    lines = (
        "url, pid = server.base_url, os.fork()\n"
        "if pid == 0:\n"
        "    assert not server.running and find_server(url) is None\n"
        "    server.start()\n"
        "    assert server.running and server.base_url != url and find_server(server.base_url) is server\n"
        "    own = shared_server()\n"
        "    own.stop()\n"
        "    sys.exit(5)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5\n"
        "assert server.running and server.base_url == url\n"
        "child = server._child\n"
        "server.stop()\n"
        "assert child.process.returncode == 0\n"
    )
    assert Parent(lines).result() == (0, "", "")


@posix
def test_a_forked_process_does_not_hold_the_leash():
    """The child ends with its parent even though a fork of it lives on."""
    lines = (
        "if os.fork() == 0:\n"
        "    sys.stdin.read()\n"  # until the test lets it go
        "    os._exit(0)\n"
        "print('forked', flush=True)\n"
        "os._exit(0)\n"
    )
    parent = Parent(lines)
    assert parent.process.stdout.readline() == "forked\n"
    assert parent.process.wait(10) == 0
    assert is_gone_within(parent.child, 2)
    assert parent.result() == (0, "", "")


@posix
def test_a_fork_in_the_midst_of_a_start_finds_a_free_server():
    """Another thread was starting it and held its lock; the forked process has neither."""
    start = (
        "from langchain_cerebras_demo.local import server as module\n"
        "server = LocalServer(context_tokens=1024)\n"
        "forked, hand_over = threading.Event(), module.Child.hand_over\n"
        "starting = threading.Event()\n"
        "def wait_for_the_fork(*args):\n"
        "    starting.set()\n"
        "    forked.wait()\n"
        "    hand_over(*args)\n"
        "module.Child.hand_over = wait_for_the_fork\n"
        "thread = threading.Thread(target=server.start)\n"
        "thread.start()\n"
        "starting.wait()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    module.Child.hand_over = hand_over\n"
        "    assert server._child is None\n"
        "    server.start()\n"
        "    server.stop()\n"
        "    os._exit(6)\n"
        "forked.set()\n"
        "thread.join()\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6\n"
    )
    # From Python 3.12 on a fork beside threads is warned of.
    assert Parent("", "-W", "ignore::DeprecationWarning", start=start).result() == (0, "", "")
