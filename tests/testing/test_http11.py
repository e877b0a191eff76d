"""Requests are parsed according to HTTP/1.1, in whatever pieces they arrive."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.testing.wire_client import ask, chat, raw_chat, raw_socket, read_to_end


def talk(server, *parts):
    """Send parts one write each, with a half-closed connection asked for, and read all that comes."""
    with raw_socket(server) as connection:
        for part in parts:
            connection.sendall(part)
        return read_to_end(connection)


def closing(request):
    return request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)


def test_a_request_may_come_byte_by_byte(server):
    """TCP knows no messages."""
    request = closing(raw_chat(server, chat("ä")))
    answer = talk(server, *(request[i : i + 1] for i in range(len(request))))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.requests[0].json == chat("ä")


def test_requests_may_come_in_one_write(server):
    """Pipelined ones are answered in order."""
    answer = talk(server, raw_chat(server, chat("first")) + closing(raw_chat(server, chat("second"))))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(b"first") < answer.index(b"second")


def test_a_body_may_be_chunked(server):
    """With extensions and trailers."""
    payload = json.dumps(chat("chunked")).encode()
    head = closing(raw_chat(server, chat())).partition(b"content-length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    body = b"5;x=1\r\n%b\r\n%x\r\n%b\r\n0\r\ntrailer: 1\r\n\r\n" % (payload[:5], len(payload) - 5, payload[5:])
    assert b"chunked" in talk(server, head + body)
    assert server.requests[0].body == payload


def test_a_body_may_be_zipped(server):
    """The service takes gzip; what is none is refused."""
    zipped = gzip.compress(json.dumps(chat()).encode())
    assert ask(server, data=zipped, headers={"content-encoding": "gzip"}).status == 200
    assert server.requests[0].json == chat()
    assert ask(server, data=b"no gzip", headers={"content-encoding": "gzip"}).status == 400


def test_a_client_that_waits_for_100_continue_gets_it(server):
    """Before the body is sent."""
    head, _, body = closing(raw_chat(server, chat())).partition(b"\r\n\r\n")
    with raw_socket(server) as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_to_end(connection).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("request_bytes", "words"),
    [
        (b"hello\r\n\r\n", b"not a request line: 'hello'"),
        (b"GET / HTTP/1.0\r\nhost: x\r\n\r\n", b"not HTTP/1.1"),
        (b"GET / HTTP/1.1\r\n\r\n", b"without a Host header"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n", b"not a number"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", b"not a number"),
        (b"GET / HTTP/1.1\r\nhost: " + b"x" * 70_000, b"too long"),
    ],
)
def test_what_is_no_request_is_refused_and_ends_the_connection(server, request_bytes, words):
    """With a 400 that says why; it is not recorded."""
    answer = talk(server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert words in answer
    assert server.requests == []


def test_an_answer_of_megabytes_arrives_whole(server):
    """Beyond every buffer on the way."""
    text = ask(server, chat("Write 900000 words")).message["content"]
    assert len(text.split()) > 1000
