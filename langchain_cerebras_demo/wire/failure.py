"""Converts an error answer, in any of its shapes, to an exception.

The shapes that have been seen (the code names the recordings and threads):

* flat, from the gateway: ``{"message", "type", "param", "code"}`` (400, 401, 404, 429)
* enveloped, from upstream: ``{"status_code": 500, "error": {"message", "type", "param", "code", "id"}}``
* FastAPI's: ``{"detail": "…"}`` or ``{"detail": [{"loc", "msg", "type"}, …]}``
* an HTML page of a proxy

The status takes precedence over the text, and the service's ``code`` over its message. An answer may repeat the key. It is
hidden after the answer is read, so that a key never changes what an error means, and before texts are shortened, because a
part of a key would not be found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from langchain_cerebras_demo import errors
from langchain_cerebras_demo.records import Limit
from langchain_cerebras_demo.wire import repair
from langchain_cerebras_demo.wire.headers import to_request_id, to_retry_after, to_snapshot

_CLASSES: dict[int, type[errors.APIStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    413: errors.BadRequestError,  # "content_too_large": too many or too large images
    422: errors.UnprocessableEntityError,
    429: errors.RateLimitError,
}

# Headers that may contain secrets or private data: exceptions never contain them.
_PRIVATE_HEADERS = frozenset(
    {"set-cookie", "cookie", "authorization", "proxy-authorization", "proxy-authenticate", "location"}
)

# "Please reduce the length of the messages or completion. Current length is N while limit is M" (cline#5140)
_OVERFLOW_WORDS = re.compile(
    r"reduce the length of the (messages|prompt)|maximum context length|context window", re.IGNORECASE
)
_OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})

# The status of an error event that does not name one, as a flat one cannot. The codes and types are those seen in HTTP
# answers of that status. The code takes precedence, because a wrong key has been seen with type "invalid_request_error".
_STATUS_OF_WORD = {
    **dict.fromkeys(_OVERFLOW_CODES, 400),
    "invalid_request_error": 400,
    "wrong_api_format": 400,
    "authentication_error": 401,
    "wrong_api_key": 401,
    "not_found_error": 404,
    "model_not_found": 404,
    "content_too_large": 413,
    "too_many_requests_error": 429,
    "too_many_tokens_error": 429,
    "request_quota_exceeded": 429,
    "token_quota_exceeded": 429,
    "queue_exceeded": 429,
}

_FAILURE_KEYS = frozenset({"error", "message", "detail", "status_code"})

Hide = Callable[[bytes], bytes]
"""Removes the key from a text, so that no error repeats it."""

# Words that programs compare: "context_length_exceeded", "messages.0.role". A real key never looks like that, because it does
# not consist of lower-case letters only.
_MACHINE_WORD = re.compile(r"[a-z]+(_[a-z]+|\.[a-z]+|\.\d+)*")
_WORDS = frozenset({"code", "type", "param"})

_MAX_DEPTH = 100  # no server sends an error nested deeper, which would exceed the recursion limit

_SHOWN_CHARACTERS = 300
_SEARCHED_CHARACTERS = 16_384  # a title is at the top; a hostile page must not cause a search of a megabyte


def from_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, hide: Hide = bytes, now: float | None = None
) -> errors.APIStatusError:
    """Return the exception for an HTTP answer whose status is not 200.

    Args:
        status: the HTTP status.
        headers: the answer's headers, names in lower case.
        body: the part of its body that could be read.
        hide: removes the key from what the exception keeps.
        now: the local clock's Unix time in seconds, for a ``retry-after`` that is a date.
    """
    decoded = to_json_or_text(body)
    shown = hidden(decoded, hide)
    text = body.removeprefix(repair.BYTE_ORDER_MARK).decode("utf-8", "replace")
    if shown != decoded or hidden(text, hide) != text:
        text = shown if decoded == text else json.dumps(shown, ensure_ascii=False)
    words = _words(shown)
    message = words["message"] or _describe_text(text, hidden(headers.get("server"), hide))
    if 300 <= status < 400:
        message = _redirect(status, headers.get("location", ""), hide)
    safe_headers = {name: value for name, value in headers.items() if name.lower() not in _PRIVATE_HEADERS}
    error = _status_class(status, _words(decoded))(
        f"{status}: {message}",
        status_code=status,
        code=words["code"],
        type=words["type"],
        param=words["param"],
        request_id=hidden(to_request_id(headers), hide) or words["id"],
        retry_after=to_retry_after(headers, now),
        limits=to_snapshot(headers) or None,
        body=shown,
        response=errors.ErrorResponse(status, hidden(safe_headers, hide), text),
    )
    if isinstance(error, errors.RateLimitError):
        error.limit = to_limit(error.code, words["message"])
    advice = headers.get("x-should-retry", "").lower()  # overrides all other rules, as in the vendors' SDKs
    if advice in {"true", "false"}:
        error.is_retryable = advice == "true"
    return error


def to_limit(code: str | None, message: str | None) -> Limit:
    """Return the limit that a 429 names.

    "Requests per second limit exceeded - too many requests sent." (``request_quota_exceeded``) and "Tokens per day limit exceeded -
    too many tokens processed." (``token_quota_exceeded``) are the messages that users report, for each period. A code without
    such a message does not name the period: the minute is assumed.
    """
    words = (message or "").lower()
    if code == "queue_exceeded" or "high traffic" in words:
        return Limit.QUEUE
    named = next((limit for limit in Limit if limit.unit and limit.value in words), None)
    if named is None and re.search(r"per (second|minute|hour|day)", words) is None:
        named = {
            "request_quota_exceeded": Limit.REQUESTS_PER_MINUTE,
            "token_quota_exceeded": Limit.TOKENS_PER_MINUTE,
        }.get(code or "")
    return named or Limit.UNKNOWN


def hidden(value: Any, hide: Hide, *, is_word: bool = False) -> Any:
    """Return ``value`` with the key removed from all its texts.

    Args:
        value: JSON, or a text.
        hide: as in ``from_answer``.
        is_word: whether a text may be a word that programs compare; such a word is not changed.
    """
    if isinstance(value, str):
        if is_word and _MACHINE_WORD.fullmatch(value):
            return value
        return hide(value.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    if isinstance(value, dict):
        return {
            hidden(name, hide, is_word=True): hidden(inner, hide, is_word=name in _WORDS)
            for name, inner in value.items()
        }
    return [hidden(inner, hide) for inner in value] if isinstance(value, list) else value


def is_failure(decoded: Mapping[str, Any]) -> bool:
    """Return whether the JSON of a 200 answer, or of an event in one, is an error, in any shape."""
    return bool(decoded.get("error")) or ("choices" not in decoded and not _FAILURE_KEYS.isdisjoint(decoded))


def to_json_or_text(body: bytes) -> Any:
    """Return ``body`` as JSON, or as text if it is not valid JSON or nested too deeply."""
    try:
        decoded = repair.loads(body)
    except ValueError:
        decoded = None
    else:
        if not _is_deep(decoded):
            return decoded
    return body.removeprefix(repair.BYTE_ORDER_MARK).decode("utf-8", "replace")


def from_event(decoded: Any, hide: Hide = bytes) -> errors.APIStatusError:
    """Return the exception for an error in the JSON of a 200 answer, or of an event in one.

    Its status is the one that the error names, else the one of its code or type, else 500. ``hide`` as in ``from_answer``.
    """
    true_words = _words(decoded)
    status = _status_of(decoded, true_words)
    kind = _status_class(status, true_words)
    decoded = hidden(decoded, hide)
    words = _words(decoded)
    error = kind(
        f"the answer reported an error: {words['message'] or 'no message'}",
        status_code=status,
        code=words["code"],
        type=words["type"],
        param=words["param"],
        request_id=words["id"],
        body=decoded,
    )
    if isinstance(error, errors.RateLimitError):
        error.limit = to_limit(error.code, words["message"])
    return error


def _status_class(status: int, words: Mapping[str, str | None]) -> type[errors.APIStatusError]:
    found = _CLASSES.get(status)
    if found is errors.BadRequestError and (
        words["code"] in _OVERFLOW_CODES
        or words["type"] in _OVERFLOW_CODES
        or _OVERFLOW_WORDS.search(words["message"] or "")
    ):
        return errors.ContextOverflowError
    if found is not None:
        return found
    if status >= 500:
        return errors.InternalServerError
    return errors.APIStatusError


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _words(decoded: Any) -> dict[str, str | None]:
    """Return message, type, param, code and id from any of the shapes; ``None`` for those that are missing or empty."""
    words: Mapping[str, Any] = {}
    if isinstance(decoded, dict):
        inner = decoded.get("error")
        if isinstance(inner, dict):
            words = inner
        elif isinstance(inner, str) and "message" not in decoded:
            words = {**decoded, "message": inner}
        else:
            words = decoded
        if "detail" in decoded and "message" not in words:
            words = {**words, "message": _detail(decoded["detail"])}
    elif isinstance(decoded, str):
        words = {"message": decoded if not _looks_like_html(decoded) else None}
    return {name: _word(words.get(name)) for name in ("message", "type", "param", "code", "id")}


def _word(value: Any) -> str | None:
    # `code` was a number once (vercel/ai's tests); strings may be empty (the SDK's ErrorChunkResponse defaults).
    return None if value is None else str(value).strip() or None


def _detail(detail: Any) -> Any:
    """Return FastAPI's ``detail`` as text: for a 422, ``loc: msg`` for each problem; for a 404, it is a string already."""
    if not isinstance(detail, list):
        return detail
    lines = []
    for item in detail:
        if isinstance(item, dict):
            loc = item.get("loc")
            place = ".".join(map(str, loc)) if isinstance(loc, list) else ""
            lines.append(f"{place}: {item.get('msg', item)}" if place else str(item.get("msg", item)))
        else:
            lines.append(str(item))
    return "; ".join(lines)


def _status_of(decoded: Any, words: Mapping[str, str | None]) -> int:
    candidates: list[Any] = [words["code"]]
    if isinstance(decoded, dict):
        inner = decoded.get("error")
        candidates = [decoded.get("status_code"), decoded.get("status"), words["code"]]
        if isinstance(inner, dict):
            candidates.insert(1, inner.get("status_code"))
    for candidate in candidates:
        if isinstance(candidate, int | str) and re.fullmatch(r"[45]\d\d", str(candidate)):
            return int(candidate)
    return _STATUS_OF_WORD.get(words["code"] or "") or _STATUS_OF_WORD.get(words["type"] or "") or 500


def _looks_like_html(text: str) -> bool:
    return bool(re.match(r"\s*<(!doctype|html|head|body)", text, re.IGNORECASE))


def _describe_text(text: str, sender: str | None) -> str:
    """Return a description of a body that is not a JSON error: the title of an HTML page, or the beginning of other text."""
    if not text.strip():
        return "the answer has no body"
    if _looks_like_html(text):
        title = re.search(r"<title[^>]*>(.*?)</title>", text[:_SEARCHED_CHARACTERS], re.IGNORECASE | re.DOTALL)
        named = f" titled {' '.join(title[1].split())[:_SHOWN_CHARACTERS]!r}" if title else ""
        return f"an HTML page{named} came instead of JSON" + (f" (server: {sender})" if sender else "")
    return text.strip()[:_SHOWN_CHARACTERS]


def _redirect(status: int, location: str, hide: Hide) -> str:
    """Return the message for a redirect."""
    target = _target(location)
    if target:
        shown = hidden(target, hide)[:_SHOWN_CHARACTERS]
        return f"the server redirects to {shown!r}; this is not followed, because the request has a key: set base_url to it"
    what = "says 'not modified', as to a cache," if status == 304 else "redirects"
    why = "names a target that cannot be read" if location.strip() else "names no target (there is no Location header)"
    return (
        f"the server {what} but {why}: something other than the service seems to answer; "
        "set base_url to the service's own address"
    )


def _target(location: str) -> str:
    """Return the host of a redirect, or the path of a redirect within the host; never a user, a password or a query.

    Empty if there is neither.
    """
    location = location.strip()
    found = re.match(r"(?:[a-z][a-z0-9+.-]*:)?//([^/?#]*)", location, re.IGNORECASE)
    if found:
        return found[1].rpartition("@")[2]
    if re.match(r"[a-z][a-z0-9+.-]*:", location, re.IGNORECASE):
        return ""  # "mailto:" and the like, or an address without its slashes, which may hold a password
    return re.split(r"[?#]", location)[0]
