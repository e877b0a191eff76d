"""The hosts that a key may go to."""

from __future__ import annotations

import warnings
from urllib.parse import urlsplit

from langchain_cerebras_demo.errors import KeyHostError
from langchain_cerebras_demo.keys.secret import Secret
from langchain_cerebras_demo.net.endpoint import is_loopback, takes_demo_key

_warned_hosts: set[str] = set()


class PlainHttpWarning(UserWarning):
    """A key is about to be sent over plain http to another machine, readable by anyone on the way."""


def check_key_host(key: Secret, url: str) -> None:
    """Check that a session's demo key is sent to cerebras.ai over https only; warn once per host about plain http.

    Raises:
        KeyHostError: it was about to be sent elsewhere.
    """
    parts = urlsplit(url)
    if key.demo and not takes_demo_key(url):
        raise KeyHostError(
            f"the demo key of a session is sent to https://*.cerebras.ai only, not to {parts.scheme}://{parts.netloc}: "
            "pass a key for that host as api_key"
        )
    if parts.scheme == "http" and not is_loopback(url) and parts.netloc not in _warned_hosts:
        _warned_hosts.add(parts.netloc)
        warnings.warn(
            f"the key is sent to {parts.netloc} over plain http, where anyone on the way can read it: use https",
            PlainHttpWarning,
            stacklevel=2,
        )
