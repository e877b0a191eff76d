"""Selects the answer to a request: the paths of the loopback Cerebras, and the keys that may use them.

Each request returns a function that prepares the answer, or raises ``RefusedError``.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import orjson

from langchain_cerebras_demo.testing.answers import answer, scripted_answer
from langchain_cerebras_demo.testing.completions import to_chunks, to_completion
from langchain_cerebras_demo.testing.models import LoopbackModel, to_catalogue_row, to_list_row
from langchain_cerebras_demo.testing.player import DONE, EVENT_STREAM, JSON, Prepared, with_headers
from langchain_cerebras_demo.testing.quota import cost_of
from langchain_cerebras_demo.testing.refusals import RefusedError, documented_body, flat
from langchain_cerebras_demo.testing.rules import check_chat, find_model
from langchain_cerebras_demo.testing.scenarios import sse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from langchain_cerebras_demo.testing.http11 import ReceivedRequest
    from langchain_cerebras_demo.testing.quota import Admission, Quota
    from langchain_cerebras_demo.testing.scenarios import Reply

    Prepare: TypeAlias = "Callable[[Reply | None], Prepared]"


CHAT_PATH = "/v1/chat/completions"
SESSION_PATH = "/api/auth/session"

# The limits of an account that never reaches them; the remainder is announced with every answer.
UNLIMITED = {
    ("requests", "minute"): 6_000_000,
    ("requests", "hour"): 360_000_000,
    ("requests", "day"): 8_640_000_000,
    ("tokens", "minute"): 10_000_000_000,
    ("tokens", "hour"): 600_000_000_000,
    ("tokens", "day"): 14_400_000_000_000,
}


@dataclass
class Service:
    """The state of the loopback Cerebras: its keys (never in its ``repr``), models and signed-in session."""

    key: str = field(repr=False)
    demo_key: str = field(repr=False)
    models: Mapping[str, LoopbackModel]
    session_cookies: Mapping[str, str] = field(repr=False)
    answered: int = 0
    quota: Quota | None = None


def documented_headers(
    service: Service, inference_id: str | None = None, *, is_refusal: bool = False
) -> tuple[tuple[str, str], ...]:
    """Return the headers of every answer: the limits, the answer's id, and Cloudflare's.

    A refusal announces no limits. The cookie is Cloudflare's: the real service sends one, and a client must neither log it nor
    send it back.
    """
    limits = service.quota.headers() if service.quota else unlimited_headers(service)
    return (
        ("server", "cloudflare"),
        ("set-cookie", "__cf_bm=loopback; HttpOnly; SameSite=None; Secure; Path=/"),
        ("inference-id", inference_id or f"loopback-{uuid.uuid4()}"),
        *(() if is_refusal else limits),
    )


def unlimited_headers(service: Service) -> tuple[tuple[str, str], ...]:
    """Return the headers of limits that are never reached."""
    found = []
    for (unit, period), limit in UNLIMITED.items():
        left = limit - service.answered if (unit, period) == ("requests", "day") else limit
        found += [
            (f"x-ratelimit-limit-{unit}-{period}", str(limit)),
            (f"x-ratelimit-remaining-{unit}-{period}", str(left)),
        ]
    return tuple(found)


def admit(service: Service, request: ReceivedRequest) -> Admission | None:
    """Accept a checked request, if there is a quota. Raises ``RefusedError`` if it is used up."""
    if service.quota is None or request.path != CHAT_PATH:
        return None
    return service.quota.admit(cost_of(request.json, service.models[request.json["model"]]), request)


def route(service: Service, request: ReceivedRequest) -> Prepare:
    """Return what prepares the answer to this request. Raises ``RefusedError`` if the service would refuse it."""
    path = request.path
    wanted = "POST" if path == CHAT_PATH else "GET"
    known = {CHAT_PATH, SESSION_PATH, "/v1/models", "/v1/tcp_warming", "/public/v1/models"}
    if path not in known and not path.startswith(("/v1/models/", "/public/v1/models/")):
        raise RefusedError(404, {"detail": "Not Found"})
    if request.method != wanted:
        raise RefusedError(405, {"detail": "Method Not Allowed"})
    if path.startswith("/v1/"):
        authorize(service, request)
    if path == CHAT_PATH:
        return chat(service, request)
    content = session(service, request) if path == SESSION_PATH else listing(service, path)

    def prepare(reply: Reply | None) -> Prepared:
        more = reply.headers if reply else ()
        return Prepared(200, with_headers((JSON, *documented_headers(service)), more), orjson.dumps(content))

    return prepare


def authorize(service: Service, request: ReceivedRequest) -> None:
    """Refuse every key but the key and the demo key."""
    if request.bearer is None or request.bearer not in {service.key, service.demo_key}:
        raise RefusedError(401, documented_body(401))


def chat(service: Service, request: ReceivedRequest) -> Prepare:
    """Return what prepares a chat completion, whole or streamed."""
    kind = (request.header("content-type") or "").partition(";")[0].strip()
    if kind != "application/json":
        problem = f"body: content type '{kind}' is not supported by the loopback; send application/json"
        raise RefusedError(400, flat(problem, "invalid_request_error", "validation_error", "wrong_api_format"))
    try:
        body: Any = request.json
    except ValueError as error:
        problem = f"body: not valid JSON: {error}"
        raise RefusedError(
            400, flat(problem, "invalid_request_error", "validation_error", "wrong_api_format")
        ) from None
    model = check_chat(body, service.models)

    def prepare(reply: Reply | None) -> Prepared:
        found = answer(body, model) if reply is None else scripted_answer(reply, body, model)
        headers = with_headers(documented_headers(service, found.id), reply.headers if reply else ())
        used = int(found.usage.get("total_tokens") or 0)
        if body.get("stream"):
            events = (*(sse(chunk) for chunk in to_chunks(found)), DONE)
            return Prepared(200, with_headers((EVENT_STREAM,), headers), events=events, used_tokens=used)
        whole = orjson.dumps(to_completion(found))
        return Prepared(200, with_headers((JSON,), headers), whole, used_tokens=used)

    return prepare


def listing(service: Service, path: str) -> dict[str, Any]:
    """Return the models of a key or of the public catalogue, all or one; or an empty object to warm a connection."""
    if path == "/v1/tcp_warming":
        return {}
    public = path.startswith("/public")
    to_row = to_catalogue_row if public else to_list_row
    _, _, name = path.partition("/models/")
    if not name:
        return {"object": "list", "data": [to_row(model) for model in service.models.values()]}
    if public and name not in service.models:
        raise RefusedError(404, {"detail": f"Model '{name}' not found or not publicly available"})
    return to_row(find_model(name, service.models))


def session(service: Service, request: ReceivedRequest) -> dict[str, Any]:
    """Return the signed-in user with the demo key if all cookies are right, else an empty object, as next-auth does."""
    held = request.cookies
    expected = service.session_cookies
    if not expected or any(held.get(name) != value for name, value in expected.items()):
        return {}
    expires = datetime.now(timezone.utc) + timedelta(days=30)
    user = {"email": "someone@example.com", "demoApiKey": service.demo_key}
    return {"user": user, "expires": expires.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
