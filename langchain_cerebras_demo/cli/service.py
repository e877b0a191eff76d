"""What ``doctor`` sees of the service: address, proxy, network, clock, keys, an answer, the limits.

Everything is bounded by seconds. A name is resolved on a thread of our own first: the system's resolver cannot be told to
stop, and asyncio and the interpreter would wait at their end for the threads that they lent it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from langchain_cerebras_demo.cli.findings import Finding
from langchain_cerebras_demo.cli.notes import HOW_TO_GO_ON
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    CerebrasError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
)
from langchain_cerebras_demo.keys import ChainKeyResolver, EnvKey
from langchain_cerebras_demo.keys.chain import to_key_chain
from langchain_cerebras_demo.net.endpoint import API_BASE, BASE_URL_VARIABLE, is_loopback, takes_demo_key, to_base_url
from langchain_cerebras_demo.net.portal import portal
from langchain_cerebras_demo.net.proxies import Proxy, find_proxy
from langchain_cerebras_demo.net.transport import HttpRequest, default_transport, timeout
from langchain_cerebras_demo.policy import RetryPolicy, Timeout
from langchain_cerebras_demo.records import CallRecord, RateLimitSnapshot
from langchain_cerebras_demo.wire.request import ChatRequest, to_parameters

NAME_SECONDS = 3.0
CONNECT_SECONDS = 3.0
KEY_SECONDS = 6.0
ANSWER_SECONDS = 10.0

CLOCK_SECONDS = 60.0
"""How far the clock may be off. Certificates and signed requests bear minutes at most; an HTTP date is a second coarse."""

_REMEDIES: tuple[tuple[type[CerebrasError], str], ...] = (
    (
        AuthenticationError,
        "Copy the key again from https://cloud.cerebras.ai; `cerebras-demo keys` shows where it came from.",
    ),
    (PaymentRequiredError, "Look at the billing page of https://cloud.cerebras.ai."),
    (PermissionDeniedError, "Look at what the key may do at https://cloud.cerebras.ai, and at the proxy."),
    (NotFoundError, "See `cerebras-demo models --remote`, and choose one by --model."),
    (RateLimitError, "Wait until the limit is whole again."),
    (APITimeoutError, "Try again; if it stays so, look at the proxy and at https://status.cerebras.ai."),
    (APIConnectionError, "Look at the network and the proxy."),
)


@dataclass(frozen=True)
class Reached:
    """What came of a request without a key: an HTTP status, the server's date, and how long it took in seconds."""

    status: int
    date: str | None
    seconds: float


def examine_service(model: str) -> Iterator[Finding]:
    """Address, proxy, network, clock, key, answer and limits; what hangs on what is missing is left out and said so."""
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
        yield Finding("network", "note", "not tried, since the proxy cannot be used")
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
        why = "no question was asked, since " + ("there is no key" if is_reached else "the service was not reached")
        yield Finding("answer", "note", why)


def reach(base_url: str, proxy: Proxy | None) -> Reached | APIError:
    """Asks for the public list of models, which needs no key. Any HTTP status is an answer."""
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
    """What is wrong with a host's name; empty where it has an address. It takes ``NAME_SECONDS`` at most."""
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
        return Finding("address", "problem", f"{what}: a key would travel in the open", "Use https.")
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
        remedy = "Look at the clock; behind a company's proxy, name its certificates by SSL_CERT_FILE."
    elif proxy:
        remedy = f"Look at the network, and at {proxy.source} and NO_PROXY."
    else:
        remedy = "Look at the network; behind a company's firewall set HTTPS_PROXY. --local works without."
    return Finding("network", "problem", str(reached), remedy)


def _clock(reached: Reached) -> Finding:
    try:
        ahead = (datetime.now(tz=timezone.utc) - parsedate_to_datetime(reached.date or "")).total_seconds()
    except (ValueError, TypeError):  # TypeError: a date without a zone; Python 3.10 also for none at all
        return Finding("clock", "note", "the service did not say what time it is")
    if abs(ahead) <= CLOCK_SECONDS:
        return Finding("clock", "fine", f"right to {CLOCK_SECONDS:g} s")
    what = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the service's"
    return Finding("clock", "problem", what, "Set it: timedatectl set-ntp true, or the system's settings.")


def _keys(base_url: str, *, is_reached: bool) -> tuple[ChainKeyResolver, Finding]:
    # Without a network a browser's session cannot be asked for its key, and asking would take its time.
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
    return chain, Finding("key", "problem", what, f"{HOW_TO_GO_ON} `cerebras-demo keys` shows every source.")


def _answer(base_url: str, keys: ChainKeyResolver, model: str) -> Iterator[Finding]:
    client = Client(
        base_url=base_url,
        keys=keys,
        retry=RetryPolicy(max_retries=0),
        timeout=Timeout(CONNECT_SECONDS, ANSWER_SECONDS, ANSWER_SECONDS, ANSWER_SECONDS),
    )
    question = ChatRequest(model, [{"role": "user", "content": "Hi"}], to_parameters({"max_tokens": 1}))
    try:
        events = portal.run(lambda: client.complete(question))
    except (CerebrasError, ValueError) as error:
        remedy = next((remedy for kind, remedy in _REMEDIES if isinstance(error, kind)), "Try again with --debug.")
        yield Finding("answer", "problem", f"{type(error).__name__}: {error}", remedy)
        limits = getattr(error, "limits", None)
    else:
        record = next(event for event in events if isinstance(event, CallRecord))
        seconds = record.seconds if record.ttft is None else record.ttft
        yield Finding("answer", "fine", f"{record.model} answered after {seconds * 1000:.0f} ms")
        limits = record.limits
    yield _limits(limits)


def _limits(limits: RateLimitSnapshot | None) -> Finding:
    if not limits:
        return Finding("limits", "note", "the service announced none")
    kinds = (
        ("requests a day", limits.remaining_requests_day, limits.limit_requests_day, limits.reset_requests_day),
        ("tokens a minute", limits.remaining_tokens_minute, limits.limit_tokens_minute, limits.reset_tokens_minute),
    )
    facts = [
        f"{left:,} of {most:,} {what} left" for what, left, most, _ in kinds if left is not None and most is not None
    ]
    used_up = [f"{what}: whole again in {reset or 0:,.0f} s" for what, left, _, reset in kinds if left == 0]
    if used_up:
        return Finding("limits", "problem", "; ".join(facts), f"Wait. {'; '.join(used_up)}.")
    return Finding("limits", "fine", "; ".join(facts) or "announced in part")
