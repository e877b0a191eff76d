"""What came over the wire: one HTTP request, kept for a test to look at."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

__all__ = ["ReceivedRequest"]


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived. Its ``repr`` shows neither headers nor body, since they hold keys and cookies.

    Attributes:
        method: As sent, e.g. ``"POST"``.
        path: The path without the query.
        query: What stood behind the ``?``, or ``""``.
        headers: Pairs of lower-case name and value, in the order sent, doubles kept.
        body: The body as sent, after chunked encoding was taken off.
        connection: The number of the TCP connection that brought it, from 1: two requests with one number shared it.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    connection: int = 0

    def header(self, name: str) -> str | None:
        """The first header of this name in any case, or ``None``."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def host(self) -> str:
        """The ``Host`` header: which name the client believed to be talking to."""
        return self.header("host") or ""

    @property
    def bearer(self) -> str | None:
        """The token of ``Authorization: Bearer …``, or ``None``."""
        kind, _, token = (self.header("authorization") or "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else None

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies as name and raw value, nothing decoded: real session cookies hold characters that parsers refuse."""
        pairs = (part.partition("=") for part in (self.header("cookie") or "").split(";"))
        return {name.strip(): value.strip() for name, equals, value in pairs if equals}

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to use the connection again (HTTP/1.1: unless it says ``close``)."""
        return "close" not in (self.header("connection") or "").lower()

    @cached_property
    def json(self) -> Any:
        """The body as JSON, unzipped where ``Content-Encoding`` says gzip. Raises ``ValueError`` where it is none."""
        try:
            body = gzip.decompress(self.body) if self.header("content-encoding") == "gzip" else self.body
        except (OSError, EOFError) as error:
            raise ValueError(f"the body is announced as gzip and is none: {error}") from error
        return orjson.loads(body)
