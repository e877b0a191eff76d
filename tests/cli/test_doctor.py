"""``cerebras-demo doctor``: problems are found within seconds, with a remedy, and no key is ever shown."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from typer.testing import CliRunner

from langchain_cerebras_demo.cli import app, diagnosis
from langchain_cerebras_demo.local import weights
from langchain_cerebras_demo.testing import Quota, RawAnswer, Reply, Silence, Status

TOPICS = ["version", "packages", "extras", "output", "embedded model", "address", "proxy"]
TOPICS += ["network", "clock", "key", "answer", "limits"]


@pytest.fixture
def doctor(monkeypatch, server):
    """Examines, in this process; gives the exit code and the findings by topic."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", server.base_url)
    monkeypatch.setenv("CEREBRAS_API_KEY", server.key)
    monkeypatch.setenv("CEREBRAS_DEMO_BROWSER", "0")

    def doctor(*arguments):
        done = CliRunner().invoke(app, ["doctor", "--json", *arguments])
        assert server.key not in done.output
        report = json.loads(done.stdout)
        assert report["ok"] == (done.exit_code == 0)
        found = report["findings"]
        assert all(finding["remedy"] for finding in found if finding["state"] == "problem")
        return done.exit_code, {finding["topic"]: finding for finding in found}

    return doctor


@pytest.fixture
def closed_port():
    """Return a port of this machine on which no server listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.quick
def test_where_nothing_is_in_the_way_every_topic_is_fine_or_a_note(run, server):
    """For people: a mark, the topic, what was found; exit code 0."""
    done = run("doctor", fresh=True)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[2:].partition(":")[0] for line in lines if line[:1] in {"✓", "·"}] == TOPICS
    assert lines[-1] == "No problems found."
    assert "✗" not in done.stdout
    assert server.key not in done.stdout
    assert [request.path for request in server.requests] == ["/public/v1/models", "/v1/chat/completions"]
    assert "authorization" not in {name.lower() for name in dict(server.requests[0].headers)}
    assert server.requests[1].json["max_completion_tokens"] == 1


def test_json_says_the_same(doctor):
    """With the limits that the service announces."""
    code, found = doctor()
    assert (code, list(found)) == (0, TOPICS)
    assert "CEREBRAS_API_KEY: a key" in found["key"]["what"]
    assert re.search(
        r"[\d,]+ of [\d,]+ requests per day left; .*; this looks like a paid account", found["limits"]["what"]
    )


def test_the_limits_say_which_kind_of_account_it_looks_like(doctor, server):
    """Limits that users of the free trial report; a used-up limit resets with the next period."""
    server._service.quota = Quota(30_000, 5, 2_400, requests_hour=150, tokens_hour=1_000_000, tokens_day=1_000_000)
    code, found = doctor()
    assert code == 0
    assert found["limits"]["what"].startswith("4 of 5 requests per minute left; 149 of 150 requests per hour left; ")
    assert found["limits"]["what"].endswith("; this looks like the free trial")
    server._service.quota = Quota(30_000, 1, 2_400)
    code, found = doctor()
    assert code == 1
    assert "requests per minute: resets when the next minute (UTC) begins" in found["limits"]["remedy"]


def test_a_refused_key_says_where_to_look(doctor, monkeypatch):
    """And the key is not shown."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-wrong-0123456789")
    code, found = doctor()
    assert code == 1
    assert found["answer"]["what"].startswith("AuthenticationError: 401")
    assert "cloud.cerebras.ai" in found["answer"]["remedy"]
    assert "wrong-0123" not in json.dumps(found)


def test_a_key_that_is_none_is_a_problem(doctor, monkeypatch):
    """With a line break in it, as from a file."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "csk-one\ncsk-two")
    code, found = doctor()
    assert code == 1
    assert "KeyFormatError" in json.dumps(found)
    assert "csk-" not in json.dumps(found)


def test_a_bad_model_says_how_to_list_them(doctor):
    """--model."""
    code, found = doctor("--model", "gpt-os-120b")
    assert code == 1
    assert found["answer"]["what"].startswith("NotFoundError: 404")
    assert "models --remote" in found["answer"]["remedy"]


def test_limits_that_are_used_up_say_when_they_are_whole_again(doctor, server):
    """By the service's own figures."""
    limits = {"limit": "60000", "remaining": "0", "reset": "41.5"}
    server.script(Reply(text="Hi", headers={f"x-ratelimit-{what}-tokens-minute": n for what, n in limits.items()}))
    code, found = doctor()
    assert code == 1
    assert "0 of 60,000 tokens per minute left" in found["limits"]["what"]
    assert "tokens per minute: resets in 42 s" in found["limits"]["remedy"]


def test_a_service_that_limits_us_now_says_so(doctor, server):
    """It is called only once."""
    server.script(Status(429))
    code, found = doctor()
    assert code == 1
    assert found["answer"]["what"].startswith("RateLimitError: 429")
    assert len(server.requests) == 2


# -- without a network


def test_a_closed_port_is_found_at_once(run, closed_port):
    """And without a key two problems are named, each with its remedy."""
    began = time.monotonic()
    done = run("doctor", CEREBRAS_BASE_URL=f"http://127.0.0.1:{closed_port}/v1", CEREBRAS_API_KEY="")
    assert time.monotonic() - began < 10
    assert done.returncode == 1
    assert "✗ network: could not connect" in done.stdout
    assert "the service was not reached" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_network_and_key_both_are_problems(doctor, monkeypatch):
    """No browser is looked into: its session could not be asked for a key."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", "https://api.nowhere.invalid/v1")
    monkeypatch.delenv("CEREBRAS_API_KEY")
    monkeypatch.setattr(socket, "getaddrinfo", unresolvable)
    code, found = doctor()
    assert code == 1
    assert [topic for topic in found if found[topic]["state"] == "problem"] == ["network", "key"]
    assert "could not be resolved" in found["network"]["what"]
    assert found["network"]["remedy"].endswith("--local needs no network once its model is downloaded.")
    assert "clock" not in found


def unresolvable(*_arguments, **_options):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_resolver_that_never_answers_is_left_behind(doctor, monkeypatch):
    """It runs on a thread that is not waited for."""
    answered = threading.Event()
    monkeypatch.setenv("CEREBRAS_BASE_URL", "https://api.nowhere.invalid/v1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answered.wait(30) and [])
    monkeypatch.setattr(diagnosis, "NAME_SECONDS", 0.05)
    code, found = doctor()
    answered.set()
    assert code == 1
    assert "could not be resolved within 0.05 s" in found["network"]["what"]


@pytest.mark.parametrize("path", ["/public/v1/models", "/v1/chat/completions"])
def test_a_silent_service_is_given_up(doctor, server, monkeypatch, path):
    """Before the first byte, and in the middle of the answer."""
    monkeypatch.setattr(diagnosis, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(diagnosis, "ANSWER_SECONDS", 0.2)
    server.script_path(path, Silence(before_headers=True))
    code, found = doctor()
    topic = "network" if path.startswith("/public") else "answer"
    assert code == 1
    assert "within 0.2 s" in found[topic]["what"]


# -- surroundings


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        (0, "fine", "correct to within"),
        (3600, "problem", "behind"),
        (-3600, "problem", "ahead of"),
        (None, "note", "sent no date"),
    ],
)
def test_the_clock_is_held_against_the_services(doctor, server, ahead, state, words):
    """By the Date header of its answer."""
    date = "nonsense" if ahead is None else format_datetime(datetime.now(timezone.utc) + timedelta(seconds=ahead))
    server.script_path("/public/v1/models", RawAnswer(headers={"Date": date}, body=b"{}"))
    _, found = doctor()
    assert found["clock"]["state"] == state
    assert words in found["clock"]["what"]


def test_a_proxy_is_shown_without_its_password(doctor, monkeypatch, closed_port):
    """And suspected where nothing is reached."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", "http://diagnosis.invalid/v1")
    monkeypatch.setenv("HTTP_PROXY", f"http://user:hush@127.0.0.1:{closed_port}")
    monkeypatch.setenv("http_proxy", f"http://user:hush@127.0.0.1:{closed_port}")
    code, found = doctor()
    assert code == 1
    assert found["proxy"]["what"] == f"127.0.0.1:{closed_port} from http_proxy"
    assert "http_proxy" in found["network"]["remedy"]
    assert found["address"]["state"] == "problem"  # plain http to another machine
    assert "hush" not in json.dumps(found)


@pytest.mark.parametrize(
    ("proxy", "what"),
    [
        ("socks5://user:hush@127.0.0.1:9", "http_proxy names a SOCKS proxy, which is not supported"),
        ("ftp://127.0.0.1:9", "http_proxy names a proxy that is neither http nor https"),
        ("http://127.0.0.1:port", "http_proxy names a proxy whose host or port cannot be read"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_problem_by_its_variable(doctor, monkeypatch, proxy, what):
    """Nothing is sent to it; the network is not tried."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", "http://diagnosis.invalid/v1")
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    found = doctor()[1]
    assert found["proxy"]["state"] == "problem"
    assert found["proxy"]["what"].startswith(what)
    assert found["proxy"]["remedy"] == "Set http_proxy=http://host:port, or unset it."
    assert found["network"]["what"] == "not tried, because the proxy cannot be used"
    assert "hush" not in json.dumps(found)


@pytest.mark.parametrize(
    ("value", "state"), [("ftp://x", "problem"), ("https://user:hush@x", "problem"), ("local", "note")]
)
def test_the_address_is_looked_at_first(doctor, monkeypatch, value, state):
    """Checks that depend on it are skipped."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", value)
    code, found = doctor()
    assert (code, found["address"]["state"]) == (int(state == "problem"), state)
    assert "network" not in found
    assert "hush" not in json.dumps(found)


def test_what_is_not_installed_is_named(monkeypatch):
    """A missing package is a problem, a missing extra is not."""
    monkeypatch.setattr(diagnosis, "REQUIRED", ("typer", "no-such-package"))
    monkeypatch.setattr(diagnosis, "EXTRAS", {"local": "no-such-extra", "ray": "nor-this"})
    found = {finding.topic: finding for finding in diagnosis.examine_machine()}
    assert (found["packages"].state, found["packages"].what) == ("problem", "not installed: no-such-package")
    assert (found["extras"].state, found["extras"].what) == ("note", "installed: none; not installed: local, ray")
    assert "[local,ray]" in found["extras"].remedy


def test_every_extra_that_is_installed_is_listed():
    """By the package that it brings; this test runs on the extra cli."""
    assert diagnosis.EXTRAS.keys() == {"local", "browser", "cli", "parquet", "ray", "notebook", "otel", "llm"}
    found = {finding.topic: finding for finding in diagnosis.examine_machine()}
    assert "cli (typer " in found["extras"].what


def test_the_embedded_model_needs_nothing(monkeypatch, tmp_path):
    """Whoever has neither key nor network reads it here."""
    pytest.importorskip("xllamacpp")
    monkeypatch.setattr(weights, "installed_path", lambda _: tmp_path / "weights")
    monkeypatch.setattr(weights.PackagedFile, "is_at", lambda *_: True)
    found = {finding.topic: finding for finding in diagnosis.examine_machine()}
    assert found["embedded model"].what.startswith("ready: --local needs neither key nor network")


def test_weights_are_looked_for_and_not_fetched(monkeypatch, tmp_path):
    """The first use of --local fetches them."""
    pytest.importorskip("xllamacpp")
    monkeypatch.setenv("CEREBRAS_DEMO_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "installed_path", lambda _: None)
    found = {finding.topic: finding for finding in diagnosis.examine_machine()}
    assert "not downloaded yet" in found["embedded model"].what
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_hold_every_character_is_a_note(run):
    """The remedy names the variable."""
    done = run("doctor", "--json", PYTHONIOENCODING="ascii")
    output = json.loads(done.stdout)["findings"][3]
    assert (output["topic"], output["state"], output["remedy"]) == ("output", "note", "Set PYTHONUTF8=1.")


@pytest.mark.filterwarnings("ignore:.*forkpty.*:DeprecationWarning")  # pexpect's, from Python 3.12 on
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_a_terminal_of_20_columns_gets_short_lines(terminal, end):
    """Only what has no space in it is longer."""
    said, code = end(terminal("doctor", columns=20))
    assert code == 0
    assert not [line for line in said.splitlines() if len(line) > 20 and " " in line.strip(" →✓·")]
    assert "  20 columns" in said or "output: 20" in said
