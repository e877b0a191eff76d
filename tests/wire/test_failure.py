"""An answer that is an error, in any shape, is one exception that says what to do and shows no secret."""

from __future__ import annotations

import json
import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo import errors
from langchain_cerebras_demo.keys.secret import MARK, Secret
from langchain_cerebras_demo.records import Limit
from langchain_cerebras_demo.testing.refusals import QUEUE_EXCEEDED, quota_exceeded
from langchain_cerebras_demo.wire.failure import from_answer, from_event
from tests.support.announcements import announce

MEGABYTE = 1024 * 1024


def fail(status=400, body="", headers=None):
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return from_answer(status, headers or {}, data)


def flat(message="m", kind="t", param="p", code="c"):
    return {"message": message, "type": kind, "param": param, "code": code}


# -- which class

CLASSES = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    405: errors.APIStatusError,
    408: errors.APIStatusError,
    409: errors.APIStatusError,
    413: errors.BadRequestError,
    418: errors.APIStatusError,
    422: errors.UnprocessableEntityError,
    429: errors.RateLimitError,
    500: errors.InternalServerError,
    502: errors.InternalServerError,
    503: errors.InternalServerError,
    529: errors.InternalServerError,
    599: errors.InternalServerError,
    204: errors.APIStatusError,
    302: errors.APIStatusError,
}
RETRYABLE = {408, 409, 429, 500, 502, 503, 529, 599}


@pytest.mark.parametrize("status", CLASSES)
@pytest.mark.parametrize("body", [flat(), {"status_code": 418, "error": flat()}, {"detail": "m"}, "<html>", ""])
def test_the_status_decides_the_class_whatever_the_body_says(status, body):
    """And whether a fresh call may succeed: a timeout of theirs, a passing conflict, a limit, a failure."""
    error = fail(status, body)
    assert type(error) is CLASSES[status]
    assert error.status_code == status
    assert error.is_retryable is (status in RETRYABLE)
    assert str(error).startswith(f"{status}: ")


# -- which words


@pytest.mark.parametrize("body", [flat(), {"error": flat()}, {"status_code": 500, "error": flat()}])
def test_flat_and_enveloped_bodies_give_the_same_words(body):
    """Message, type, param and code are the service's own; the body is kept as it was decoded."""
    error = fail(400, body)
    assert str(error) == "400: m"
    assert (error.type, error.param, error.code) == ("t", "p", "c")
    assert error.body == body
    assert error.response.json() == body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # FastAPI's two forms
        ({"detail": "Model 'x' not found or not publicly available"}, "Model 'x' not found or not publicly available"),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "Field required", "type": "missing"}, {"msg": "And"}]},
            "body.messages.0: Field required; And",
        ),
        ({"detail": ["a", {"loc": None, "msg": "b"}, {"loc": 5}, 6]}, "a; b; {'loc': 5}; 6"),
        ({"detail": "d", "message": "m"}, "m"),
        ({"error": "a word"}, "a word"),
        ({"error": "invalid_grant", "message": "m"}, "m"),
        ({"error": {"message": "m", "code": 42}}, "m"),
        ('"a JSON string"', "a JSON string"),
        # no words of its own: what came, in short
        (flat(message=""), '{"message": "", "type": "t", "param": "p", "code": "c"}'),
        ({"detail": None}, '{"detail": null}'),
        ("[1, 2]", "[1, 2]"),
        (json.dumps({"y": "x" * 1000}), '{"y": "' + "x" * 293),
        ("{broken", "{broken"),
        ("  upstream connect error\n", "upstream connect error"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("", "the answer has no body"),
        (" \r\n", "the answer has no body"),
    ],
)
def test_the_message_is_what_the_body_says(body, message):
    """In any shape, and never empty."""
    assert str(fail(400, body)) == f"400: {message}"


@pytest.mark.parametrize(
    ("page", "headers", "message"),
    [
        ("<html><head><TITLE>\n 502  Bad\nGateway </TITLE>", {}, "an HTML page titled '502 Bad Gateway' came instead"),
        ("\n<!DOCTYPE html><title lang=en>Just a moment...</title>", {}, "titled 'Just a moment...'"),
        ("<html>nothing", {}, "an HTML page came instead of JSON"),
        ("<html><title>T</title>", {"server": "cloudflare"}, "titled 'T' came instead of JSON (server: cloudflare)"),
    ],
)
def test_an_html_page_is_named_by_its_title(page, headers, message):
    """Somebody in between answered: a gateway, a login page, a challenge."""
    error = fail(502, page, headers)
    assert message in str(error)
    assert error.body == page


@pytest.mark.parametrize("page", ["<html>" + "<title" * (MEGABYTE // 6), "<html>" + "<title>" * (MEGABYTE // 7)])
def test_a_hostile_page_does_not_buy_a_search_of_a_megabyte(page):
    """Ten thousand openings of a title and no end: minutes, if all of it were searched."""
    started = time.process_time()
    assert "an HTML page came" in str(fail(502, page))
    assert time.process_time() - started < 5


def test_numbers_and_empty_strings_of_a_body_become_words_and_none():
    """`code` has been a number; the service's own type defaults to empty strings."""
    error = fail(500, {"status_code": 500, "error": {"message": "m", "type": "", "param": None, "code": 42, "id": ""}})
    assert (error.type, error.param, error.code, error.request_id) == (None, None, "42", None)


# -- a request that does not fit

OVERFLOW_MESSAGES = [
    "Please reduce the length of the messages or completion. Current length is 8193 while limit is 8192",
    "This model's maximum context length is 8192 tokens.",
    "the request exceeds the available context window",
]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((400, flat(message)) for message in OVERFLOW_MESSAGES),
        *((400, {"error": {"message": message}}) for message in OVERFLOW_MESSAGES),
        (400, flat(code="context_length_exceeded")),
        (413, flat(code="context_length_exceeded")),
        # llama.cpp's
        (400, {"error": {"code": 400, "message": "too large", "type": "exceed_context_size_error", "n_ctx": 256}}),
    ],
)
def test_a_prompt_that_does_not_fit_is_a_context_overflow(status, body):
    """By the service's code or type, else by its English: LangChain's summarisation reacts to the class."""
    error = fail(status, body)
    assert type(error) is errors.ContextOverflowError
    assert error.status_code == status
    assert not error.is_retryable


@pytest.mark.parametrize("status", [401, 404, 422, 429, 500])
def test_the_status_is_believed_before_the_words_of_an_overflow(status):
    """A limit of tokens a minute is no limit of the window."""
    assert type(fail(status, flat(OVERFLOW_MESSAGES[0], code="context_length_exceeded"))) is CLASSES[status]


@pytest.mark.parametrize("body", [flat(code="content_too_large"), flat("property 'context' is unsupported"), "", "[]"])
def test_other_refusals_are_no_overflow(body):
    """Summarising would not help."""
    assert type(fail(400, body)) is errors.BadRequestError
    assert type(fail(413, body)) is errors.BadRequestError


# -- redirects


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://elsewhere.example/v1?key=hidden#hidden", "'elsewhere.example'"),
        ("https://hidden:hidden@elsewhere.example:8443/v1", "'elsewhere.example:8443'"),
        ("https://hidden@hidden@elsewhere.example", "'elsewhere.example'"),
        ("//hidden:hidden@elsewhere.example/v1", "'elsewhere.example'"),
        ("HTTPS://elsewhere.example", "'elsewhere.example'"),
        ("/login?key=hidden", "'/login'"),
        ("/login#hidden", "'/login'"),
        (" /login", "'/login'"),
        ("login", "'login'"),
        ("../v2", "'../v2'"),
    ],
)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
def test_a_redirect_is_not_followed_and_names_the_host_alone(status, location, shown):
    """No user, password or query of the address, in the message or anywhere else on the exception."""
    error = fail(status, "", {} if location is None else {"location": location})
    assert f"redirects to {shown}; " in str(error)
    assert "set base_url" in str(error)
    assert "hidden" not in repr(vars(error)) + repr(vars(error.response))


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (None, "names no target"),
        ("", "names no target"),
        ("  ", "names no target"),
        ("?key=hidden", "a target that cannot be read"),
        ("#hidden", "a target that cannot be read"),
        ("https://", "a target that cannot be read"),
        ("https:///hidden", "a target that cannot be read"),
        ("https://hidden:hidden@", "a target that cannot be read"),
        ("https:hidden:hidden@elsewhere.example", "a target that cannot be read"),
        ("mailto:hidden@elsewhere.example", "a target that cannot be read"),
    ],
)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
def test_a_redirect_without_a_target_says_so(status, location, words):
    """And what to check: the answer is probably not the service's."""
    error = fail(status, flat(), {} if location is None else {"location": location})
    assert words in str(error)
    assert "set base_url" in str(error)
    assert "''" not in str(error)
    assert ("not modified" in str(error)) == (status == 304)
    assert "hidden" not in repr(vars(error)) + repr(vars(error.response))


# -- headers

SECRET_HEADERS = ["set-cookie", "cookie", "authorization", "proxy-authorization", "proxy-authenticate", "Set-Cookie"]


def test_headers_that_may_hold_a_secret_never_reach_the_exception():
    """Tracers send `.response.headers` away; the others are kept for them."""
    headers = dict.fromkeys(SECRET_HEADERS, "hidden") | {"server": "s", "content-type": "application/json"}
    error = fail(500, flat(), headers)
    assert error.response.headers == {"server": "s", "content-type": "application/json"}
    assert "hidden" not in repr(vars(error)) + repr(vars(error.response)) + repr(pickle.dumps(error))


@pytest.mark.parametrize(
    ("headers", "body", "request_id"),
    [
        ({"inference-id": "i", "cf-ray": "r", "x-request-id": "x"}, {}, "x"),
        ({"inference-id": "i", "cf-ray": "r", "x-request-id": " "}, {}, "r"),
        ({"inference-id": "i"}, {}, "i"),
        ({"x-request-id": "x"}, {"error": {"message": "m", "id": "b"}}, "x"),
        ({}, {"error": {"message": "m", "id": "b"}}, "b"),
        ({}, flat() | {"id": "b"}, "b"),
        ({}, flat(), None),
    ],
)
def test_the_request_id_is_the_headers_else_the_bodys(headers, body, request_id):
    """`x-request-id`, else `cf-ray`, else the answer's own id."""
    assert fail(500, body, headers).request_id == request_id


def test_the_wish_to_wait_and_the_limits_are_read_from_the_headers():
    """In seconds; nothing announced is `None`."""
    headers = {
        "retry-after": "49",
        "x-ratelimit-remaining-tokens-minute": "0",
        "x-ratelimit-reset-tokens-minute": "11.38",
    }
    error = fail(429, flat(), headers)
    assert error.retry_after == 49.0
    assert error.limits == announce(tokens_minute=(None, 0, 11.38))
    silent = fail(429, flat(), {"retry-after": "soon"})
    assert (silent.retry_after, silent.limits) == (None, None)


def test_a_date_to_wait_for_is_counted_from_the_local_clock_where_the_server_names_no_time():
    """The clock comes in as an argument; the server's own goes before it."""
    wish = {"retry-after": "Mon, 23 Nov 2026 07:29:15 GMT"}
    now = 1_795_418_925.0  # 07:28:45
    assert from_answer(429, wish, b"{}", now=now).retry_after == 30.0
    assert from_answer(429, wish | {"date": "Mon, 23 Nov 2026 07:29:00 GMT"}, b"{}", now=now).retry_after == 15.0


# -- keys

KEY = "csk-0123456789abcdef"
PLACEHOLDERS = [
    "x",
    "0",
    "4",
    "null",
    "q",
    "code",
    "message",
    "error",
    "status_code",
    "context_length_exceeded",
    "invalid",
    "messages",
]
BODIES = [
    flat("Please reduce the length of the messages", "", "", ""),
    flat(
        "Please reduce the length of the messages", "invalid_request_error", "messages.0.x", "context_length_exceeded"
    ),
    flat("Requests per minute limit exceeded", "too_many_requests_error", "quota", "request_quota_exceeded"),
    {"status_code": 401, "error": flat("no", "authentication_error", None, "wrong_api_key") | {"id": "c-0"}},
    {"error": {"message": "m", "code": 404}},
    {"detail": [{"loc": ["body", "x"], "msg": "null"}]},
]


def read(key, status, body):
    """What a program reads of the error of an answer, or of an event where no status is given."""
    hide = Secret(key, "api_key").hide
    data = json.dumps(body).encode()
    error = from_answer(status, {}, data, hide=hide) if status else from_event(body, hide)
    return type(error), error.status_code, error.code, error.type, error.param


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, None])
@pytest.mark.parametrize("body", BODIES)
def test_no_key_changes_what_an_error_means(body, status):
    """Class, status, code, type and param are the service's own, even where the key is a part of them."""
    expected = read(KEY, status, body)
    for key in PLACEHOLDERS:
        assert read(key, status, body) == expected


def test_a_placeholder_for_a_key_leaves_an_error_as_it_is():
    """Its message, its body, its headers."""
    for body in BODIES:
        for key in ("x", "0", "null", "q", "message"):
            error = from_answer(400, {"x-a": "x0"}, json.dumps(body).encode(), hide=Secret(key, "api_key").hide)
            plain = from_answer(400, {"x-a": "x0"}, json.dumps(body).encode())
            assert str(error) == str(plain)
            assert error.body == body
            assert (error.response.text, error.response.headers) == (plain.response.text, plain.response.headers)


ECHOES = {
    "message": flat(KEY),
    "code": flat(code=KEY),
    "type": flat(kind=f"Bearer {KEY}"),
    "param": flat(param=KEY),
    "id": flat() | {"id": KEY},
    "a name": {KEY: [{KEY: KEY}], "message": "m"},
    "a name twice": '{"message": "m", "a": "%s", "a": 1}' % KEY,  # noqa: UP031
    "a message that is no text": flat([{KEY: [KEY]}]),
    "detail": {"detail": [{"loc": [KEY], "msg": KEY}]},
    "text": "e" * 290 + KEY,
    "a JSON text": f'"{KEY}"',
    "a page": f"<html><title>{'t' * 290}{KEY}</title>",
    "a long message": flat("m" * 1980 + KEY),
    "half of it": "e" * 50 + KEY[:-1],
    "half of it in JSON": '{"message": "' + KEY[:12],
    "a body that was cut": b'{"message": "' + b"m" * MEGABYTE + KEY[:12].encode(),
    "escaped": '{"message": "' + "".join(f"\\u{ord(letter):04x}" for letter in KEY) + '"}',
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_is_repeated_stands_nowhere_on_the_exception(echo):
    """Nor half of it, where a text is cut."""
    hide = Secret(KEY, "api_key").hide
    headers = {"x-sent": f"Bearer {KEY}", "server": "s" * 1970 + KEY, "x-request-id": KEY, "location": f"/{KEY}"}
    data = ECHOES[echo]
    data = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else json.dumps(data).encode()
    for status in (302, 400, 502):
        error = from_answer(status, headers, data, hide=hide)
        shown = repr([str(error), vars(error), vars(error.response)])
        assert MARK in shown
        assert KEY[:8] not in shown
        assert status != 400 or error.request_id == MARK
    if isinstance(ECHOES[echo], dict):
        error = from_event(ECHOES[echo], hide)
        assert KEY[:8] not in repr([str(error), vars(error)])
        assert error.body != ECHOES[echo]


def test_the_text_of_a_body_that_repeats_the_key_is_still_json():
    """Tracers read `.response.json()`."""
    error = from_answer(400, {}, json.dumps(flat(KEY)).encode(), hide=Secret(KEY, "api_key").hide)
    assert error.response.json() == error.body == flat(MARK)


# -- whatever comes


@pytest.mark.parametrize(
    "body", ["x" * MEGABYTE, flat("x" * MEGABYTE), {"detail": ["x" * MEGABYTE]}, {"y": "x" * MEGABYTE}]
)
def test_the_message_stays_short_and_the_body_whole(body):
    """A megabyte of an error is no log line."""
    error = fail(500, body)
    assert len(str(error)) < 2000
    assert error.body == body
    assert len(error.response.text) >= MEGABYTE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "loc", "msg", "type", "param", "code", "id", "status_code"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(status=st.integers(201, 599), body=JSON.map(json.dumps).map(str.encode) | st.binary(max_size=50))
def test_any_answer_is_a_status_error_with_words(status, body):
    """Whatever a server makes up; it also pickles."""
    error = from_answer(status, {}, body)
    assert error.status_code == status
    assert len(str(error)) > len(f"{status}: ")
    for word in (error.type, error.param, error.code, error.request_id):
        assert word is None or (isinstance(word, str) and word)
    assert pickle.loads(pickle.dumps(error)).body == error.body


@pytest.mark.parametrize("depth", [90, 101, 600, 1000, 1020])
@pytest.mark.parametrize("shape", ["%s", '{"message": %s}', '{"error": {"code": %s}}', '{"detail": [%s]}'])
def test_a_body_that_is_nested_deep_is_an_error_like_any_other(depth, shape):
    """No recursion over it ends in a RecursionError; it is kept as text."""
    data = (shape % ("[" * depth + "]" * depth)).encode()
    error = pickle.loads(pickle.dumps(from_answer(400, {}, data, hide=Secret(KEY, "api_key").hide)))
    assert type(error) is errors.BadRequestError
    assert isinstance(error.body, str) == (depth > 100)


# -- which limit a 429 names


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        *(
            (quota_exceeded(unit, period), f"{unit} per {period}")
            for unit in ("requests", "tokens")
            for period in ("second", "minute", "hour", "day")
        ),
        (QUEUE_EXCEEDED, Limit.QUEUE),
        ({"message": "no", "code": "request_quota_exceeded"}, Limit.REQUESTS_PER_MINUTE),
        ({"message": "no", "code": "token_quota_exceeded"}, Limit.TOKENS_PER_MINUTE),
        ({"message": "Uncached tokens per hour limit exceeded"}, Limit.TOKENS_PER_HOUR),
        ({"message": "Images per minute limit exceeded", "code": "request_quota_exceeded"}, Limit.UNKNOWN),
        ({"message": "no"}, Limit.UNKNOWN),
    ],
)
def test_a_429_says_which_limit(body, limit):
    """By its message, else by its code; as an answer and as an event in a stream."""
    assert from_answer(429, {}, json.dumps(body).encode()).limit == limit
    assert from_event({"error": body, "status_code": 429}).limit == limit


@pytest.mark.parametrize(
    ("limit", "retry_after", "is_worth_waiting"),
    [
        (Limit.TOKENS_PER_DAY, None, False),
        (Limit.TOKENS_PER_DAY, 120.0, True),
        (Limit.REQUESTS_PER_HOUR, None, True),
        (Limit.REQUESTS_PER_HOUR, 120.1, False),
        (Limit.QUEUE, None, True),
        (None, None, True),
    ],
)
def test_a_limit_of_the_day_or_a_long_retry_after_is_not_worth_waiting(limit, retry_after, is_worth_waiting):
    """A `retry-after` decides, for any limit."""
    error = errors.RateLimitError("429: no", retry_after=retry_after)
    error.limit = limit
    assert error.is_worth_waiting is is_worth_waiting
    assert pickle.loads(pickle.dumps(error)).limit is limit
