"""What is not a completion: errors inside a 200, and bytes that are not an answer."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo import errors
from langchain_cerebras_demo.errors import APIResponseValidationError, CerebrasError
from langchain_cerebras_demo.wire.completion import (
    CompletionDecoder,
    ReasoningDelta,
    TextDelta,
    ToolCallFragment,
)
from tests.support.wire_shapes import FRAME, USAGE, call, chunk, read, read_whole, to_data, to_sse

# -- errors inside a 200

INNER = {"message": "boom", "type": "server_error", "param": "p", "code": "c", "id": "chatcmpl-9"}
FLAT = {"message": "boom", "type": "server_error", "param": "p", "code": "c", "id": "chatcmpl-9"}
OVERFLOW = "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192"

FAILURES = [
    # enveloped
    ({"status_code": 500, "error": INNER}, errors.InternalServerError, 500),
    ({"status_code": 503, "error": INNER}, errors.InternalServerError, 503),
    ({"status_code": 429, "error": INNER}, errors.RateLimitError, 429),
    ({"status_code": "401", "error": INNER}, errors.AuthenticationError, 401),
    ({"error": INNER | {"status_code": 404}}, errors.NotFoundError, 404),
    ({"error": INNER}, errors.InternalServerError, 500),
    ({"error": INNER | {"code": 429}}, errors.RateLimitError, 429),
    ({"error": INNER | {"code": "402"}}, errors.PaymentRequiredError, 402),
    ({"error": "boom"}, errors.InternalServerError, 500),
    ({"error": "boom", "status": 403}, errors.PermissionDeniedError, 403),
    ({**chunk({"content": "a"}), "error": INNER}, errors.InternalServerError, 500),
    # flat
    (FLAT, errors.InternalServerError, 500),
    ({"message": "boom"}, errors.InternalServerError, 500),
    (FLAT | {"status_code": 422}, errors.UnprocessableEntityError, 422),
    (FLAT | {"code": 400}, errors.BadRequestError, 400),
    ({"detail": "boom"}, errors.InternalServerError, 500),
    ({"detail": [{"loc": ["body", "x"], "msg": "boom"}], "status_code": 422}, errors.UnprocessableEntityError, 422),
    # no status at all: its code, then its type, as they stand beside a status elsewhere
    (FLAT | {"code": "request_quota_exceeded", "type": "too_many_requests_error"}, errors.RateLimitError, 429),
    (FLAT | {"type": "invalid_request_error"}, errors.BadRequestError, 400),
    (FLAT | {"code": "wrong_api_key", "type": "invalid_request_error"}, errors.AuthenticationError, 401),
    (FLAT | {"code": "context_length_exceeded"}, errors.ContextOverflowError, 400),
    ({"error": {"message": OVERFLOW, "type": "invalid_request_error"}}, errors.ContextOverflowError, 400),
    # the answer's own status_code comes first, then the error's, then any other word for it
    ({"status_code": 403, "error": INNER | {"status_code": 404, "code": 429}}, errors.PermissionDeniedError, 403),
    ({"status": 403, "error": INNER | {"status_code": 404, "code": 429}}, errors.NotFoundError, 404),
    # an invalid status
    ({"status_code": 200, "error": INNER}, errors.InternalServerError, 500),
    ({"status_code": True, "error": INNER}, errors.InternalServerError, 500),
    ({"status_code": [429], "error": INNER}, errors.InternalServerError, 500),
]


@pytest.mark.parametrize(("body", "kind", "status"), FAILURES)
def test_an_error_inside_a_200_is_the_exception_it_speaks_of(body, kind, status):
    """As an event of a stream, named or not, and as a whole answer; with its own words."""
    for attempt in (
        lambda: CompletionDecoder().feed("", to_data(body)),
        lambda: CompletionDecoder().feed("error", to_data(body)),
        lambda: CompletionDecoder().feed_whole(to_data(body)),
    ):
        with pytest.raises(errors.APIStatusError) as caught:
            attempt()
        assert type(caught.value) is kind
        assert caught.value.status_code == status
        assert caught.value.body == body
        assert "boom" in str(caught.value) or "reduce the length" in str(caught.value)


@pytest.mark.parametrize("body", [FLAT, {"status_code": 500, "error": INNER}])
def test_the_services_own_words_stand_in_the_exceptions_fields(body):
    """type, param, code and the id of either shape."""
    with pytest.raises(errors.InternalServerError) as caught:
        read_whole(body)
    error = caught.value
    assert (error.type, error.param, error.code, error.request_id) == ("server_error", "p", "c", "chatcmpl-9")


@pytest.mark.parametrize(
    "body", [{"status_code": 500, "error": {"message": "", "code": ""}}, {"status_code": 500}, {"error": None}]
)
def test_an_error_without_words_is_an_error(body):
    """The service's own type lets every string be empty."""
    with pytest.raises(errors.InternalServerError, match="no message") as caught:
        read_whole(body)
    assert caught.value.code is None


@pytest.mark.parametrize("data", [b"overloaded", b'"overloaded"', b'{"reason": "overloaded"}', b"[]", b"\xff"])
def test_an_event_named_error_is_one_whatever_its_data(data):
    """Including text that is not JSON."""
    with pytest.raises(errors.InternalServerError) as caught:
        read(b"event: error\ndata: " + data + b"\n\n")
    assert ("overloaded" in str(caught.value)) == (data in {b"overloaded", b'"overloaded"'})


@pytest.mark.parametrize("error", [None, {}, "", False])
def test_an_empty_error_beside_choices_is_none(error):
    """Some gateways send the key on every chunk."""
    events, _ = read(to_sse({**chunk({"content": "a"}), "error": error}, "[DONE]"))
    assert events[0].text == "a"


# -- what is no completion

TOKEN = {"token": "a", "logprob": -1.0}

# Every field that is read: the tests below spoil one at a time. A new field goes here, and into BESIDE if a wrong type costs it alone.
FULL = chunk(
    {"content": "a", "reasoning": "b", "tool_calls": [call(index=0, call_id="c", name="f", arguments="{}")]},
    finish="stop",
    logprobs={"logprobs": {"content": [TOKEN]}, "reasoning_logprobs": {"content": [TOKEN]}},
    service_tier="flex",
    usage=USAGE | {"prompt_tokens_details": {"cached_tokens": 1, "image_tokens": 2}},
    time_info={},  # its members are tested in test_metadata.py
)
UNREAD = {"created", "object", "type", "token", "logprob"}


def places(value, path=()):
    """Every place of a completion that is read, and its value."""
    inner = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, item in inner:
        if key not in UNREAD:
            yield (*path, key), item
            yield from places(item, (*path, key))


def spoilt(place, wrong):
    target = answer = copy.deepcopy(FULL)
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = wrong
    return answer


def place_is_beside_a_call(place):
    """Index and id of a call may be missing, and arguments may come as an object: see test_tool_calls.py."""
    return "tool_calls" in place and place[-1] in {"index", "id", "arguments"}


BESIDE = {"id", "model", "system_fingerprint", "service_tier", "usage", "time_info", "index", "finish_reason"}
BESIDE |= {"logprobs", "reasoning_logprobs"}
PLACES = list(places(FULL))
WRONG = [
    (place, wrong)
    for place, right in PLACES
    for wrong in (5, "word", [5], {"a": 5}, 0.5)
    if type(wrong) is not type(right) and not place_is_beside_a_call(place)
]
WRONG_WORDS = [(place, wrong) for place, wrong in WRONG if BESIDE.isdisjoint(place)]
WRONG_FACTS = [(place, wrong) for place, wrong in WRONG if not BESIDE.isdisjoint(place)]


@pytest.mark.parametrize(("place", "wrong"), WRONG_WORDS, ids=lambda value: str(value).replace(" ", ""))
def test_a_wrong_type_where_the_answer_stands_is_no_completion(place, wrong):
    """Never an AttributeError here, and never a number where a caller expects text."""
    with pytest.raises(APIResponseValidationError, match="not have the shape of a completion") as caught:
        CompletionDecoder().feed("", to_data(spoilt(place, wrong)))
    assert caught.value.status_code == 200


@pytest.mark.parametrize(("place", "wrong"), WRONG_FACTS, ids=lambda value: str(value).replace(" ", ""))
def test_a_wrong_type_beside_the_answer_costs_that_fact_alone(place, wrong):
    """Ids, counts, times, log probabilities, finish reason: text, call and end of the answer are read."""
    decoder = CompletionDecoder()
    events = [*decoder.feed("", to_data(spoilt(place, wrong))), *decoder.end()]
    words = [event for event in events if isinstance(event, TextDelta | ReasoningDelta | ToolCallFragment)]
    assert [(event.text if hasattr(event, "text") else event.arguments) for event in words] == ["b", "a", "{}"]
    assert decoder.complete
    json.dumps([asdict(event) for event in events], allow_nan=False)


KEYS = ["choices", "message", "content", "tool_calls", "usage", "id", "error", "status_code", "detail", "loc", "msg"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=400)
@given(
    value=st.builds(spoilt, st.sampled_from([place for place, _ in PLACES]), JSON) | JSON,
    name=st.sampled_from(["", "error"]),
)
def test_any_json_is_read_or_refused_with_an_error_of_ours(value, name):
    """Whatever a server makes up: events, or one of the package's own exceptions."""
    data = json.dumps(value).encode()
    for attempt in (lambda decoder: decoder.feed(name, data), lambda decoder: decoder.feed_whole(data)):
        decoder = CompletionDecoder()
        try:
            events = [*attempt(decoder), *decoder.end()]
        except CerebrasError:
            continue
        assert all(isinstance(getattr(event, "text", ""), str) for event in events)
        assert decoder.complete in {True, False}


NOT_JSON = [
    (b'{"choices": [', r"not JSON .*: '\{\"choices\""),
    (b"[DONE", "not JSON"),
    (b"upstream connect error", "not JSON .*upstream connect error"),
    (b'{"a": nan}', "not JSON"),
    (b'{"choices": "\xff"}', "not UTF-8"),
    (b"<!DOCTYPE html><title>Sign in</title>", "an HTML page, not JSON: check base_url"),
    (b"\n  <html>", "an HTML page"),
    (b"[]", "JSON, but not an object"),
    (b"5", "JSON, but not an object"),
    (b'"text"', "JSON, but not an object"),
    (b"null", "JSON, but not an object"),
    (b"[" * 100_000, "not JSON"),
]


@pytest.mark.parametrize(("data", "words"), NOT_JSON, ids=[repr(data)[:40] for data, _ in NOT_JSON])
def test_what_is_no_json_object_is_refused_in_words_that_help(data, words):
    """Streamed or whole, with the beginning of what came."""
    for what, attempt in (
        ("an event of the stream", lambda: CompletionDecoder().feed("", data)),
        ("the answer", lambda: CompletionDecoder().feed_whole(data)),
    ):
        with pytest.raises(APIResponseValidationError, match=f"^{what} is {words}") as caught:
            attempt()
        assert caught.value.status_code == 200
        assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("choices", [{"choices": []}, {"choices": None}, {}])
def test_a_whole_answer_without_choices_is_no_answer(choices):
    """A 200 with nothing in it is said to be that, and is no IndexError."""
    with pytest.raises(APIResponseValidationError, match="no choices"):
        read_whole({**FRAME, **choices, "usage": USAGE})
