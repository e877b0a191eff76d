"""Checks of the base URL and of the user's headers."""

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
    """Return the base URL of requests: ``given``, else ``CEREBRAS_BASE_URL``, else Cerebras.

    ``/v1`` is added to a cerebras.ai address without a path, which is the form that Cerebras' SDK expects.

    Raises:
        ValueError: it has no scheme, no host, or a query or fragment; the message names the source of the URL.
        KeyFormatError: it contains a user or a password.
        TypeError: it is not a str.
    """
    source = "base_url" if given is not None else BASE_URL_VARIABLE
    url = given if given is not None else os.environ.get(BASE_URL_VARIABLE, "").strip() or API_BASE
    if not isinstance(url, str):
        raise TypeError(f"{source} is a {type(url).__name__}: use a str like {API_BASE!r}, or 'local'")
    url = url.strip()
    if "@" in url:  # refused before any message shows the URL: it may contain a password
        raise KeyFormatError(f"{source} contains a user: use only scheme, host and path, and pass the key as api_key")
    if url == "local":
        return url
    if not url.isprintable() or " " in url:
        raise ValueError(
            f"{source}={url!r} contains a space or a control character: use an address like {API_BASE!r}, or 'local'"
        )
    try:
        parts = urlsplit(url)
        is_readable = parts.port != 0
    except ValueError:  # a port that is not a number or above 65535, half an IPv6 address
        is_readable = False
    if not is_readable:
        raise ValueError(f"{source}={url!r} has an invalid host or port: use an address like {API_BASE!r}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{source}={url!r} has no scheme or no host: use an address like {API_BASE!r}, or 'local'")
    if parts.query or parts.fragment:
        raise ValueError(f"{source} for {parts.hostname!r} has a query or a fragment: use only scheme, host and path")
    url = url.rstrip("/")
    return f"{url}/v1" if _is_cerebras(parts.hostname) and not parts.path.strip("/") else url


def to_address(base_url: str) -> str:
    """Return scheme, host and port of a ``base_url``; ``local`` for the embedded model."""
    if base_url == "local":
        return base_url
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}"  # `to_base_url` refuses a user


def check_headers(headers: Mapping[Any, Any]) -> Mapping[str, str]:
    """Return ``headers`` if they are valid.

    Raises:
        TypeError: a name or a value is not a str.
        KeyFormatError: a header contains a line break, or is ``Authorization``, which is set from the key.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r}: its name and its value must be str")
        if any(mark in name + value for mark in "\r\n\0"):
            raise KeyFormatError(f"header {name!r} contains a line break or a zero byte")
        if name.lower() == "authorization":
            raise KeyFormatError(
                "the header Authorization is set from the key: pass the key as api_key or through a key_resolver"
            )
    return headers


def takes_demo_key(url: str) -> bool:
    """Return whether a session's demo key may be sent to ``url``."""
    parts = urlsplit(url)
    return parts.scheme == "https" and _is_cerebras(parts.hostname or "")


def is_loopback(url: str) -> bool:
    """Return whether ``url`` is on this machine, which needs no key."""
    return urlsplit(url).hostname in LOOPBACK_HOSTS


def _is_cerebras(host: str) -> bool:
    return host == "cerebras.ai" or host.endswith(".cerebras.ai")
