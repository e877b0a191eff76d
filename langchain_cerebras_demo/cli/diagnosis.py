"""The findings of ``doctor``: first about this machine, then about the service.

Every step has a timeout of seconds. A host name is resolved on a separate thread first: the system's resolver cannot be
interrupted, and asyncio and the interpreter wait for their own threads before they end.
"""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from importlib import metadata
from typing import Literal
from urllib.parse import urlsplit

from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.cli import remedies
from langchain_cerebras_demo.cli.failures import HOW_TO_CONTINUE
from langchain_cerebras_demo.cli.terminal import columns
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    CerebrasError,
    LocalServerError,
)
from langchain_cerebras_demo.keys import ChainKeyResolver, EnvKey
from langchain_cerebras_demo.keys.chain import to_key_chain
from langchain_cerebras_demo.local.weights import SMOLLM2, cache_folder, installed_path
from langchain_cerebras_demo.net.endpoint import API_BASE, BASE_URL_VARIABLE, is_loopback, takes_demo_key, to_base_url
from langchain_cerebras_demo.net.portal import portal
from langchain_cerebras_demo.net.proxies import Proxy, find_proxy
from langchain_cerebras_demo.net.transport import HttpRequest, default_transport, timeout
from langchain_cerebras_demo.policy import RetryPolicy, Timeout
from langchain_cerebras_demo.records import CallRecord, Limit, RateLimitSnapshot
from langchain_cerebras_demo.wire.request import ChatRequest, to_parameters


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        topic: what was checked.
        state: ``fine``, ``note`` (worth knowing, but not a problem) or ``problem``.
        what: the result; never a key.
        remedy: what to do; empty if nothing has to be done.
    """

    topic: str
    state: Literal["fine", "note", "problem"]
    what: str
    remedy: str = ""


REQUIRED = ("langchain-core", "aiohttp", "orjson", "pydantic", "typing-extensions", "typer", "rich")
EXTRAS = {
    "local": "xllamacpp",
    "browser": "browser-cookie3",
    "cli": "typer",
    "parquet": "pyarrow",
    "ray": "ray",
    "notebook": "ipython",
    "otel": "opentelemetry-api",
    "llm": "llm",
}
"""This package's extras, and a package that each of them installs."""


def examine_machine() -> Iterator[Finding]:
    """Check versions, extras, terminal and embedded model, in this order."""
    system = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("version", "fine", f"langchain-cerebras-demo {__version__}, {system}")
    yield _packages()
    yield _extras()
    yield _terminal()
    yield _embedded_model()


def _packages() -> Finding:
    versions = {name: _version(name) for name in REQUIRED}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        remedy = 'Install again: pip install --force-reinstall "langchain-cerebras-demo[cli]".'
        return Finding("packages", "problem", f"not installed: {', '.join(missing)}", remedy)
    return Finding("packages", "fine", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _extras() -> Finding:
    versions = {extra: _version(package) for extra, package in EXTRAS.items()}
    found = ", ".join(f"{extra} ({EXTRAS[extra]} {version})" for extra, version in versions.items() if version)
    missing = [extra for extra, version in versions.items() if version is None]
    remedy = f'If you need them: pip install "langchain-cerebras-demo[{",".join(missing)}]".' if missing else ""
    what = f"installed: {found or 'none'}" + (f"; not installed: {', '.join(missing)}" if missing else "")
    return Finding("extras", "note" if missing else "fine", what, remedy)


def _terminal() -> Finding:
    encoding = (getattr(sys.stdout, "encoding", None) or "none").lower()
    width = columns()
    what = f"{f'{width} columns' if width else 'a pipe or a file'}, {encoding}"
    if encoding.replace("-", "") == "utf8":
        return Finding("output", "fine", what)
    return Finding("output", "note", f"{what}: some characters cannot be written", "Set PYTHONUTF8=1.")


def _embedded_model() -> Finding:
    topic = "embedded model"
    if importlib.util.find_spec("xllamacpp") is None:
        return Finding(
            topic, "note", "its engine is not installed", 'For --local: pip install "langchain-cerebras-demo[local]".'
        )
    try:
        places = [installed_path(SMOLLM2), cache_folder() / SMOLLM2.name]
    except LocalServerError as error:
        return Finding(topic, "note", str(error), "Only --local needs it.")
    found = next((place for place in places if place is not None and SMOLLM2.is_at(place)), None)
    if found is None:
        size = f"{SMOLLM2.wheel_bytes / 1e6:.0f} MB"
        return Finding(
            topic, "note", f"its weights are not downloaded yet; the first use of --local does that ({size}, once)"
        )
    return Finding(topic, "fine", f"ready: --local needs neither key nor network; in {found.parent}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


NAME_SECONDS = 3.0
CONNECT_SECONDS = 3.0
KEY_SECONDS = 6.0
ANSWER_SECONDS = 10.0

CLOCK_SECONDS = 60.0
"""The tolerated error of the clock. Certificates tolerate minutes at most; an HTTP date is precise to a second."""


@dataclass(frozen=True)
class Reached:
    """The answer to a request without a key: its HTTP status, the server's date, and its duration in seconds."""

    status: int
    date: str | None
    seconds: float


def examine_service(model: str) -> Iterator[Finding]:
    """Check address, proxy, network, clock, key, answer and limits.

    A check that is impossible because of an earlier problem is reported as not tried.
    """
    try:
        base_url = to_base_url(None)
    except (ValueError, CerebrasError) as error:
        yield Finding("address", "problem", str(error), f"Unset {BASE_URL_VARIABLE}, or set it to {API_BASE}.")
        return
    if base_url == "local":
        yield Finding("address", "note", f"{BASE_URL_VARIABLE}=local: the embedded model answers, not Cerebras")
        return
    yield _address(base_url)
    proxy, finding = _proxy(base_url)
    yield finding
    if finding.state == "problem":
        reached: Reached | APIError = APIConnectionError("the proxy cannot be used")
        yield Finding("network", "note", "not tried, because the proxy cannot be used")
    else:
        reached = reach(base_url, proxy)
        yield _network(base_url, reached, proxy)
    is_reached = isinstance(reached, Reached)
    if isinstance(reached, Reached):
        yield _clock(reached)
    keys, finding = _keys(base_url, is_reached=is_reached)
    yield finding
    if is_reached and finding.state == "fine":
        yield from _answer(base_url, keys, model)
    else:
        why = "not tried, because " + ("there is no key" if is_reached else "the service was not reached")
        yield Finding("answer", "note", why)


def reach(base_url: str, proxy: Proxy | None) -> Reached | APIError:
    """Request the public list of models, which needs no key. Any HTTP status is an answer."""
    host = proxy.host if proxy else urlsplit(base_url).hostname or ""
    problem = resolve_name(host)
    if problem:
        return APIConnectionError(problem)
    url = f"{base_url.removesuffix('/v1')}/public/v1/models"
    try:
        return portal.run(lambda: _send(HttpRequest("GET", url, connect_timeout=CONNECT_SECONDS)))
    except APIError as error:
        return error


def resolve_name(host: str) -> str:
    """Return why a host name cannot be resolved; empty if it can. This waits ``NAME_SECONDS`` at most."""
    problems: list[str] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            problems.append(f"the name {host} could not be resolved ({getattr(error, 'strerror', None) or error})")

    thread = threading.Thread(target=look_up, daemon=True, name="name of the service")
    thread.start()
    thread.join(NAME_SECONDS)
    if thread.is_alive():
        return f"the name {host} could not be resolved within {NAME_SECONDS:g} s"
    return problems[0] if problems else ""


async def _send(request: HttpRequest) -> Reached:
    began = time.monotonic()
    try:
        async with timeout(2 * CONNECT_SECONDS):
            response = await default_transport().send(request)
    except APITimeoutError:
        raise
    except asyncio.TimeoutError:
        pass
    else:
        response.close()
        return Reached(response.status, response.headers.get("date"), time.monotonic() - began)
    raise APITimeoutError(f"no answer within {2 * CONNECT_SECONDS:g} s")


def _address(base_url: str) -> Finding:
    if base_url == API_BASE:
        return Finding("address", "fine", base_url)
    what = f"{base_url}, from {BASE_URL_VARIABLE}"
    if urlsplit(base_url).scheme == "http" and not is_loopback(base_url):
        return Finding("address", "problem", f"{what}: a key would be sent unencrypted", "Use https.")
    return Finding("address", "fine" if takes_demo_key(base_url) else "note", what)


def _proxy(base_url: str) -> tuple[Proxy | None, Finding]:
    try:
        proxy = find_proxy(base_url)
    except ValueError as error:
        what, _, remedy = str(error).partition(": ")
        return None, Finding("proxy", "problem", what, f"{remedy[:1].upper()}{remedy[1:]}.")
    return proxy, Finding("proxy", "note", str(proxy)) if proxy else Finding("proxy", "fine", "none")


def _network(base_url: str, reached: Reached | APIError, proxy: Proxy | None) -> Finding:
    host = urlsplit(base_url).netloc
    if isinstance(reached, Reached):
        return Finding(
            "network", "fine", f"{host} answered within {reached.seconds * 1000:.0f} ms (HTTP {reached.status})"
        )
    if "certificate" in str(reached):
        remedy = "Check the clock; behind a company proxy, set SSL_CERT_FILE to its certificates."
    elif proxy:
        remedy = f"Check the network, {proxy.source} and NO_PROXY."
    else:
        remedy = (
            "Check the network; behind a company firewall set HTTPS_PROXY. --local needs no network once its model is "
            "downloaded."
        )
    return Finding("network", "problem", str(reached), remedy)


def _clock(reached: Reached) -> Finding:
    try:
        ahead = (datetime.now(tz=timezone.utc) - parsedate_to_datetime(reached.date or "")).total_seconds()
    except (ValueError, TypeError):  # TypeError: a date without a time zone; in Python 3.10 also no date
        return Finding("clock", "note", "the service sent no date to compare with")
    if abs(ahead) <= CLOCK_SECONDS:
        return Finding("clock", "fine", f"correct to within {CLOCK_SECONDS:g} s")
    what = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the service's"
    return Finding("clock", "problem", what, "Set the clock: timedatectl set-ntp true, or the system settings.")


def _keys(base_url: str, *, is_reached: bool) -> tuple[ChainKeyResolver, Finding]:
    # Without a network, getting a key with a browser session would only time out.
    chain = to_key_chain(base_url, is_automatic=True) if is_reached else ChainKeyResolver([EnvKey()])
    try:
        reports = portal.run(lambda: asyncio.wait_for(chain.aexplain(), KEY_SECONDS))
    except asyncio.TimeoutError:
        return chain, Finding("key", "problem", f"no source answered within {KEY_SECONDS:g} s", "Set CEREBRAS_API_KEY.")
    what = "; ".join(f"{report.source}: {report.why}" for report in reports if report.state != "not asked")
    if any(report.state == "used" for report in reports):
        return chain, Finding("key", "fine", what)
    if is_loopback(base_url):
        return chain, Finding("key", "fine", f"{what}; this machine's own server may need none")
    return chain, Finding("key", "problem", what, f"{HOW_TO_CONTINUE} `cerebras-demo keys` shows every source.")


def _answer(base_url: str, keys: ChainKeyResolver, model: str) -> Iterator[Finding]:
    client = Client(
        base_url=base_url,
        keys=keys,
        retry=RetryPolicy(max_retries=0),
        timeout=Timeout(CONNECT_SECONDS, ANSWER_SECONDS, ANSWER_SECONDS, ANSWER_SECONDS),
    )
    request = ChatRequest(model, [{"role": "user", "content": "Hi"}], to_parameters({"max_tokens": 1}))
    try:
        events = portal.run(lambda: client.complete(request))
    except (CerebrasError, ValueError) as error:
        remedy = remedies.of_error(error) or "Try again with --debug."
        yield Finding("answer", "problem", f"{type(error).__name__}: {error}", remedy)
        limits = getattr(error, "limits", None)
    else:
        record = next(event for event in events if isinstance(event, CallRecord))
        seconds = record.seconds if record.ttft is None else record.ttft
        yield Finding("answer", "fine", f"{record.model} answered after {seconds * 1000:.0f} ms")
        limits = record.limits
    yield _limits(limits)


def _limits(limits: RateLimitSnapshot | None) -> Finding:
    """Return the remaining part of each announced limit, and the kind of account that this suggests."""
    if not limits:
        return Finding("limits", "note", "the service announced none")
    facts, used_up = [], []
    for name, limit, remaining, reset in limits.windows:
        if limit is None or remaining is None:
            continue
        facts.append(f"{remaining:,} of {limit:,} {name} left")
        if remaining == 0:
            until = (
                f"in {reset:,.0f} s" if reset is not None else f"when the next {name.period} (UTC) begins, or earlier"
            )
            used_up.append(f"{name}: resets {until}")
    what = "; ".join(facts) or "only partly announced"
    if tier := _tier(limits):
        what += f"; this looks like {tier}"
    if used_up:
        return Finding("limits", "problem", what, f"Wait. {'; '.join(used_up)}.")
    return Finding("limits", "fine", what)


def _tier(limits: RateLimitSnapshot) -> str:
    """Return the kind of account by its requests per day: users of the free trial report 2,400 (2026)."""
    a_day = limits[Limit.REQUESTS_PER_DAY].limit
    a_minute = limits[Limit.REQUESTS_PER_MINUTE].limit
    if a_day is None or a_minute is None:
        return ""
    return "the free trial" if a_day <= 2_400 else "a paid account"
