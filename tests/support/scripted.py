"""A transport without a network: it answers what a test wrote down and keeps what was asked."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_cerebras_demo.net.transport import HttpRequest

__all__ = ["ScriptedResponse", "ScriptedTransport", "json_answer"]


@dataclass
class ScriptedResponse:
    """One answer. A piece is what one ``read`` gives: bytes, an exception to raise, or an ``asyncio.Event`` to wait for."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: list[bytes | Exception | asyncio.Event] = field(default_factory=list)
    is_closed: bool = False

    async def read(self) -> bytes:
        while self.pieces:
            piece = self.pieces.pop(0)
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, bytes):
                return piece
            await piece.wait()
        return b""

    def close(self) -> None:
        self.is_closed = True


def json_answer(content: Any, status: int = 200, **headers: str) -> ScriptedResponse:
    """An answer whose body is JSON. Underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ScriptedResponse(status, {"content-type": "application/json", **named}, [json.dumps(content).encode()])


class ScriptedTransport:
    """Satisfies ``Transport``: gives the answers in order, one a request; an exception among them is raised.

    ``requests`` keeps the requests and ``sent_headers`` all headers of each, the secret ones among them.
    """

    def __init__(self, *answers: ScriptedResponse | Exception) -> None:
        self.answers = deque(answers)
        self.requests: list[HttpRequest] = []
        self.sent_headers: list[dict[str, str]] = []

    async def send(self, request: HttpRequest) -> ScriptedResponse:
        self.requests.append(request)
        self.sent_headers.append({**request.headers, **(request.secret_headers() if request.secret_headers else {})})
        if not self.answers:
            raise AssertionError(f"no answer is left for request {len(self.requests)}: {request.method} {request.url}")
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer
