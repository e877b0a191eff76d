"""The hosts that a key may go to."""

from __future__ import annotations

import warnings
from urllib.parse import urlsplit

from langchain_cerebras_demo.errors import KeyHostError
from langchain_cerebras_demo.keys.secret import Secret
from langchain_cerebras_demo.net.endpoint import is_loopback, takes_demo_key

_warned_hosts: set[str] = set()


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
