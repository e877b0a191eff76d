"""The proxy of a request, and where it was configured, so that an error can name the place to correct."""

from __future__ import annotations

import os
import re
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

ARGUMENT = "the argument proxy"
"""The source of a proxy that was passed in code."""

_HOST = re.compile(r"[\w.:%-]+")


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy.

    Args:
        url: its URL, including user and password.
        source: where it was configured: ``ARGUMENT``, or an environment variable.
    """

    url: str = field(repr=False)
    source: str

    @property
    def host(self) -> str:
        """The name of its host."""
        return urlsplit(self.url).hostname or ""

    def __str__(self) -> str:
        return f"{urlsplit(self.url).netloc.rpartition('@')[2]} from {self.source}"


def to_proxy(given: str, source: str) -> Proxy | None:
    """Return the proxy at the URL ``given``, ``None`` if it is empty. Without a scheme it is an HTTP proxy, as for curl.

    Args:
        given: ``http://host:port``, with a user and a password if needed; or ``host:port``.
        source: where it was configured, as in ``Proxy``.

    Raises:
        ValueError: it cannot be used; the message names the source and what to do, never a user or a password.
    """
    url = given.strip()
    if not url:
        return None
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url.removeprefix("//")
    problem = _problem(scheme.lower(), rest)
    if problem:
        del given, url, rest  # tracebacks that show locals must not show a password
        remedy = "give http://host:port" if source == ARGUMENT else f"set {source}=http://host:port, or unset it"
        raise ValueError(f"{source} names {problem}: {remedy}")
    return Proxy(f"{scheme.lower()}://{rest}", source)


def find_proxy(url: str) -> Proxy | None:
    """Return the environment's proxy for ``url``; ``None`` if there is none, and for loopback.

    Raises:
        ValueError: as ``to_proxy``.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK_HOSTS or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    key = parts.scheme if proxies.get(parts.scheme) else "all"
    return to_proxy(proxies[key], _variable(key)) if proxies.get(key) else None


def _problem(scheme: str, rest: str) -> str:
    if scheme.startswith("socks"):
        return "a SOCKS proxy, which is not supported (an HTTP proxy is)"
    if scheme not in {"http", "https"}:
        return "a proxy that is neither http nor https"
    try:
        parts = urlsplit(f"//{rest}")
        is_address = parts.port != 0 and _HOST.fullmatch(parts.hostname or "") and rest.isprintable()
    except ValueError:  # a port that is not a number or above 65535, half an IPv6 address
        is_address = False
    if "@" in rest.removeprefix(parts.netloc if is_address else rest):
        return "a proxy whose password has to be percent-encoded"
    if not is_address:
        return "a proxy whose host or port cannot be read"
    return ""


def surroundings(scheme: str) -> tuple[str | None, ...]:
    """Return what the result of ``find_proxy`` depends on for this scheme; quick enough for every request."""
    names = (f"{scheme}_proxy", "all_proxy", "no_proxy")
    return tuple(os.environ.get(one) for name in names for one in (name, name.upper()))


def _variable(key: str) -> str:
    """Return the variable that ``urllib`` used: lower case takes precedence over upper case."""
    name = f"{key}_proxy"
    if os.environ.get(name):
        return name
    return next((one for one in os.environ if one.lower() == name), "the system's settings")
