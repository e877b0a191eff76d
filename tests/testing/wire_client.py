"""A client of nothing but the standard library, so that what is tested is the wire and not another client."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from functools import cached_property

from langchain_cerebras_demo.testing import LoopbackCerebras

CHAT = "/v1/chat/completions"


@dataclass
class Result:
    status: int
    headers: dict[str, str]
    body: bytes

    @cached_property
    def json(self):
        return json.loads(self.body)

    @cached_property
    def message(self):
        return self.json["choices"][0]["message"]

    @cached_property
    def events(self):
        return [part.removeprefix(b"data: ") for part in self.body.split(b"\n\n") if part]

    @cached_property
    def chunks(self):
        return [json.loads(event) for event in self.events if event != b"[DONE]"]


def chat(content="Hello there", **fields):
    messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
    return {"model": "gpt-oss-120b", "messages": messages, **fields}


def function(name, properties=None, **more):
    schema = {"type": "object", "properties": properties or {}, "required": list(properties or ())}
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


@contextlib.contextmanager
def connect(server: LoopbackCerebras, timeout=5.0):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


def send(connection, server, body=None, *, path=CHAT, key=None, headers=None, data=None):
    """Send one request and leave the answer to be read."""
    payload = json.dumps(body).encode() if data is None and body is not None else data
    named = {"authorization": f"Bearer {key or server.key}", **(headers or {})}
    if payload is not None:
        named.setdefault("content-type", "application/json")
    connection.request("POST" if payload is not None else "GET", path, payload, named)


def read(connection):
    response = connection.getresponse()
    return Result(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def ask(server, body=None, **options):
    """One request on a connection of its own."""
    with connect(server) as connection:
        send(connection, server, body, **options)
        return read(connection)


@contextlib.contextmanager
def raw_socket(server, timeout=5.0):
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        yield connection


def read_to_end(connection):
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def raw_chat(server, body):
    """A whole chat request as the bytes that go on a socket."""
    payload = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: loopback\r\nauthorization: Bearer {server.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def after_calls(question, *names):
    """The conversation in which these tools were called, one turn each."""
    messages = [{"role": "user", "content": question}]
    for number, name in enumerate(names):
        call = {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        messages.append({"role": "assistant", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": f"result of {name}"})
    return messages


def calls_of(answer):
    calls = answer.message.get("tool_calls", [])
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


WEATHER = function("get_weather", {"location": {"type": "string"}})

CONVERT = function("convert_currency", {"amount": {"type": "integer"}})
