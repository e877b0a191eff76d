"""The routes of the loopback, and which of them need a key."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.testing import HtmlPage, LoopbackCerebras, RawAnswer, Redirect, Silence, Status
from tests.testing.wire_client import ask, chat, connect, send

SESSION = "/api/auth/session"
COOKIES = {"__Secure-next-auth.session-token": "ey..a/b+c==", "__Host-csrf": "12%7C34"}


@pytest.mark.parametrize("key", ["csk-wrong", "csk-loopback-0123456789abcdeF", ""])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/gpt-oss-120b", "/v1/tcp_warming"])
def test_a_wrong_key_is_refused(shared_server, path, key):
    """With the flat 401 of the service, before anything else is looked at."""
    body = {"wrong": "body"} if path.endswith("completions") else None
    answer = ask(shared_server, body, path=path, headers={"authorization": f"Bearer {key}"})
    assert answer.status == 401
    assert answer.json == {
        "message": "Wrong API Key",
        "type": "invalid_request_error",
        "param": "api_key",
        "code": "wrong_api_key",
    }


def test_other_ways_to_carry_the_key_are_refused(shared_server):
    """Only ``Authorization: Bearer`` counts."""
    for headers in ({"authorization": f"Basic {shared_server.key}"}, {"authorization": shared_server.key}):
        assert ask(shared_server, chat(), headers=headers).status == 401


def test_both_keys_are_let_in_and_may_change(server):
    """The key and the demo key; a new one takes effect at once."""
    assert ask(server, chat(), key=server.key).status == 200
    assert ask(server, chat(), key=server.demo_key).status == 200
    old, server.key = server.key, "csk-new"
    assert ask(server, chat(), key=old).status == 401
    assert ask(server, chat(), key="csk-new").status == 200
    old, server.demo_key = server.demo_key, "csk-demo-new"
    assert ask(server, chat(), key=old).status == 401


def test_the_models_of_a_key_are_listed(shared_server):
    """With the four fields of the default form."""
    answer = ask(shared_server, path="/v1/models")
    assert answer.json["object"] == "list"
    row = {"id": "gpt-oss-120b", "object": "model", "created": 0, "owned_by": "Cerebras"}
    assert answer.json["data"][0] == row
    assert ask(shared_server, path="/v1/models/gpt-oss-120b").json == row
    missing = ask(shared_server, path="/v1/models/nope")
    assert (missing.status, missing.json["code"]) == (404, "model_not_found")


def test_the_public_catalogue_needs_no_key(shared_server):
    """It tells limits, abilities and prices, these as strings; an unknown id has a body of its own."""
    answer = ask(shared_server, path="/public/v1/models", headers={"authorization": "none"})
    row = answer.json["data"][0]
    assert row["limits"]["max_context_length"] == 131_072
    assert row["pricing"] == {"prompt": "0.00000035", "completion": "0.00000075"}
    assert row["capabilities"]["parallel_tool_calls"] is False
    assert row["deprecated"] is False
    assert ask(shared_server, path="/public/v1/models/gpt-oss-120b").json == row
    missing = ask(shared_server, path="/public/v1/models/nope")
    assert (missing.status, missing.json) == (404, {"detail": "Model 'nope' not found or not publicly available"})


def test_a_connection_can_be_warmed(shared_server):
    """The SDK's own warm-up address answers."""
    assert ask(shared_server, path="/v1/tcp_warming").status == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/completions", {}, 404),
        ("/v1/v1/models", None, 404),
        ("/v1/chat/completions", None, 405),
        ("/v1/models", {}, 405),
    ],
)
def test_other_addresses_and_methods_are_refused(shared_server, path, body, status):
    """In the words of the framework behind the service."""
    answer = ask(shared_server, body, path=path)
    assert answer.status == status
    assert answer.json.keys() == {"detail"}


def cookie_header(cookies):
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


def test_a_signed_in_browser_gets_the_demo_key():
    """When all its cookies come, raw as they are, beside any others."""
    with LoopbackCerebras(session_cookies=COOKIES) as server:
        answer = ask(server, path=SESSION, headers=cookie_header(COOKIES | {"other": "1"}))
        assert answer.json["user"]["demoApiKey"] == server.demo_key
        assert answer.json["user"]["email"]
        assert answer.json["expires"].endswith("Z")
        assert server.requests[0].cookies == COOKIES | {"other": "1"}
        server.demo_key = "csk-demo-2"
        assert ask(server, path=SESSION, headers=cookie_header(COOKIES)).json["user"]["demoApiKey"] == "csk-demo-2"


@pytest.mark.parametrize(
    "cookies", [{}, {"__Host-csrf": "12%7C34"}, COOKIES | {"__Host-csrf": "12|34"}], ids=["none", "one", "decoded"]
)
def test_without_the_session_there_is_an_empty_object(cookies):
    """With status 200, as next-auth answers strangers."""
    with LoopbackCerebras(session_cookies=COOKIES) as server:
        answer = ask(server, path=SESSION, headers=cookie_header(cookies))
        assert (answer.status, answer.json) == (200, {})


def test_nobody_is_signed_in_by_default(shared_server):
    """No cookies expected does not mean that anybody may come."""
    assert ask(shared_server, path=SESSION).json == {}


def test_the_session_has_a_script_of_its_own(server):
    """Redirects, pages, errors, huge bodies and silence; chat requests do not use it up."""
    huge = RawAnswer(headers={"content-type": "application/json"}, body=b" " * 2_000_000 + b"{}")
    server.script_session(
        Redirect("https://other.example/"), HtmlPage(), Status(500), huge, Silence(before_headers=True)
    )
    assert ask(server, chat()).status == 200
    assert ask(server, path=SESSION).status == 302
    assert ask(server, path=SESSION).headers["content-type"].startswith("text/html")
    assert ask(server, path=SESSION).status == 500
    assert len(ask(server, path=SESSION).body) == 2_000_002
    with connect(server, timeout=0.05) as connection:
        send(connection, server, path=SESSION)
        with pytest.raises(TimeoutError):
            connection.getresponse()
    assert ask(server, path=SESSION).json == {}


def test_any_address_can_have_a_script(server):
    """For tests of what a client does when the catalogue fails."""
    server.script_path("/public/v1/models", Status(503))
    assert ask(server, path="/public/v1/models").status == 503
    assert ask(server, path="/public/v1/models").status == 200
