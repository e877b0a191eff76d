"""The address that requests go to, and the headers that a user may send along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from langchain_cerebras_demo.errors import KeyFormatError
from langchain_cerebras_demo.net.proxies import LOOPBACK_HOSTS

API_BASE = "https://api.cerebras.ai/v1"
BASE_URL_VARIABLE = "CEREBRAS_BASE_URL"


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
    if "@" in url:  # refused before anything shows it: there may be a password
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
    except ValueError:  # a port that is not a number or above 65535, half an IPv6 address
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


def to_address(base_url: str) -> str:
    """Return scheme, host and port of a ``base_url``; ``local`` for the embedded model's."""
    if base_url == "local":
        return base_url
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}"  # `to_base_url` refuses a user


def check_headers(headers: Mapping[Any, Any]) -> Mapping[str, str]:
    """``headers``, if a request can carry them.

    Raises:
        TypeError: a name or a value is not a str.
        KeyFormatError: a line break, or an ``Authorization`` header, which is made from the key.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r} is not a pair of str")
        if any(mark in name + value for mark in "\r\n\0"):
            raise KeyFormatError(f"header {name!r} has a line break or a zero byte")
        if name.lower() == "authorization":
            raise KeyFormatError(
                "the header Authorization is made from the key: pass the key as api_key or through a key_resolver"
            )
    return headers


def takes_demo_key(url: str) -> bool:
    """Return whether a session's demo key may be sent to ``url``."""
    parts = urlsplit(url)
    return parts.scheme == "https" and _is_cerebras(parts.hostname or "")


def is_loopback(url: str) -> bool:
    """Return whether ``url`` is on this machine, where no key is needed."""
    return urlsplit(url).hostname in LOOPBACK_HOSTS


def _is_cerebras(host: str) -> bool:
    return host == "cerebras.ai" or host.endswith(".cerebras.ai")
