"""Where requests go, and what may travel there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from langchain_cerebras_demo.errors import APIError, KeyFormatError, KeyHostError
from langchain_cerebras_demo.keys import Secret
from langchain_cerebras_demo.transport import LOOPBACK_HOSTS
from langchain_cerebras_demo.wire.failure import hidden

E = TypeVar("E", bound=APIError)

API_BASE = "https://api.cerebras.ai/v1"
BASE_URL_VARIABLE = "CEREBRAS_BASE_URL"

_warned_hosts: set[str] = set()


def to_base_url(given: str | None) -> str:
    """The address that requests start with: ``given``, else ``CEREBRAS_BASE_URL``, else Cerebras.

    A cerebras.ai address without a path gets the ``/v1`` that Cerebras' own SDK wants left out.

    Raises:
        ValueError: no scheme, no host, or more than an address; the message names where it came from.
        KeyFormatError: a user or a password in it.
        TypeError: not a str.
    """
    source = "base_url" if given is not None else BASE_URL_VARIABLE
    url = given if given is not None else os.environ.get(BASE_URL_VARIABLE, "").strip() or API_BASE
    if not isinstance(url, str):
        raise TypeError(f"{source} is a {type(url).__name__}: give a str like {API_BASE!r}, or 'local'")
    url = url.strip()
    if "@" in url:  # refused before anything shows it: a password may stand there
        raise KeyFormatError(f"{source} has a user in it: give scheme, host and path alone, and the key as api_key")
    if url == "local":
        return url
    if not url.isprintable() or " " in url:
        raise ValueError(
            f"{source}={url!r} has a space or a control character in it: give an address like {API_BASE!r}, or 'local'"
        )
    try:
        parts = urlsplit(url)
        is_readable = parts.port != 0
    except ValueError:  # a port that is no number or above 65535, half an IPv6 address
        is_readable = False
    if not is_readable:
        raise ValueError(
            f"{source}={url!r} has a host or a port that cannot be read: give an address like {API_BASE!r}"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{source}={url!r} has no scheme or no host: give an address like {API_BASE!r}, or 'local'")
    if parts.query or parts.fragment:
        raise ValueError(f"{source} for {parts.hostname!r} has a query or a fragment: give scheme, host and path alone")
    url = url.rstrip("/")
    return f"{url}/v1" if _is_cerebras(parts.hostname) and not parts.path.strip("/") else url


def check_headers(headers: Mapping[Any, Any]) -> Mapping[str, str]:
    """``headers``, if a request can carry them.

    Raises:
        TypeError: a name or a value that is no str.
        KeyFormatError: a line break, or an ``Authorization`` header: the key is a source's business.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r} is not a pair of str")
        if any(mark in name + value for mark in "\r\n\0"):
            raise KeyFormatError(f"header {name!r} has a line break or a zero byte")
        if name.lower() == "authorization":
            raise KeyFormatError(
                "the header Authorization is made from the key: give it as api_key or by a key_resolver"
            )
    return headers


class PlainHttpWarning(UserWarning):
    """A key is about to travel over plain http to another machine, where anybody on the way can read it."""


def check_key_host(key: Secret, url: str) -> None:
    """Holds the rule that a session's demo key goes to cerebras.ai over https alone; warns once a host of plain http.

    Raises:
        KeyHostError: it was about to go elsewhere.
    """
    parts = urlsplit(url)
    if key.demo and not takes_demo_key(url):
        raise KeyHostError(
            f"the demo key of a session goes to https://*.cerebras.ai alone, not to {parts.scheme}://{parts.netloc}: "
            "give that host a key of its own by api_key"
        )
    if parts.scheme == "http" and not is_loopback(url) and parts.netloc not in _warned_hosts:
        _warned_hosts.add(parts.netloc)
        warnings.warn(
            f"the key travels to {parts.netloc} over plain http, where anybody on the way can read it: use https",
            PlainHttpWarning,
            stacklevel=2,
        )


def takes_demo_key(url: str) -> bool:
    """Whether a session's demo key may go there."""
    parts = urlsplit(url)
    return parts.scheme == "https" and _is_cerebras(parts.hostname or "")


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine, where no key is needed."""
    return urlsplit(url).hostname in LOOPBACK_HOSTS


def _is_cerebras(host: str) -> bool:
    return host == "cerebras.ai" or host.endswith(".cerebras.ai")


def redact(problem: E, key: Secret | None) -> E:
    """``problem`` without the key, should its message repeat it.

    What it was raised from goes too: the frames of reading and decoding hold the answer as it came. The fields of an
    ``APIStatusError`` hold no key: see ``wire.failure``.
    """
    problem.__cause__ = problem.__context__ = problem.__traceback__ = None
    if key is not None:
        problem.args = tuple(hidden(arg, key.hide) for arg in problem.args)
        problem.request_id = hidden(problem.request_id, key.hide)
    return problem
