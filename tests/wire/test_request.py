"""What leaves for the API: its own parameters, in their ranges, and nothing else."""

from __future__ import annotations

import enum
import json
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.wire.request import (
    PARAMETERS,
    ChatRequest,
    check_parameter,
    to_json,
    to_messages,
    to_our_names,
    to_parameters,
)

HI = [{"role": "user", "content": "Hi"}]
NAN, INFINITY = float("nan"), float("inf")
NO_NUMBERS = [True, False, "1", [1], NAN, INFINITY, -INFINITY, 1j, 10**400]
NO_INTEGERS = [*NO_NUMBERS[:-1], 1.0]
NO_TEXTS = [1, True, ["text"], b"text"]
NO_MAPPINGS = [1, True, "text", [("a", 1)]]
NO_BOOLEANS = [0, 1, "true", 1.0]
TOOL = {"type": "function", "function": {"name": "f", "strict": False}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}

# parameter by our name: its name on the wire, what is taken, what is refused. After the API's own OpenAPI file.
TABLE = {
    "max_tokens": ("max_completion_tokens", [-1, 0, 1, 2**31 - 1], [-2, 2**31, *NO_INTEGERS]),
    "min_tokens": ("min_completion_tokens", [-1, 0, 1, 2**31 - 1], [-2, 2**31, *NO_INTEGERS]),
    "temperature": ("temperature", [0, 0.0, 1.0, 2, 2.0], [-0.1, 2.1, *NO_NUMBERS]),
    "top_p": ("top_p", [0, 0.5, 1], [-0.1, 1.1, *NO_NUMBERS]),
    "frequency_penalty": ("frequency_penalty", [-2, 0.0, 2.0], [-2.1, 2.1, *NO_NUMBERS]),
    "presence_penalty": ("presence_penalty", [-2, 0.0, 2.0], [-2.1, 2.1, *NO_NUMBERS]),
    "logit_bias": (
        "logit_bias",
        [{}, {"1": -100, "2": 100.0}],
        [{"1": -101}, {"1": 101}, {"1": NAN}, {"1": True}, {1: 1}, *NO_MAPPINGS],
    ),
    "logprobs": ("logprobs", [True, False], NO_BOOLEANS),
    "top_logprobs": ("top_logprobs", [0, 20], [-1, 21, *NO_INTEGERS]),
    "n": ("n", [1, 128], [0, -1, *NO_INTEGERS]),
    "seed": ("seed", [0, -(2**63), 2**63 - 1], [2**63, -(2**63) - 1, *NO_INTEGERS]),
    "stop": (
        "stop",
        ["\n", ["a"], ["a", "b", "c", "d"], ("a", "b")],
        ["", [""], ["a"] * 5, [1], 1, True, {"a"}, b"ab", {"a": "b"}],
    ),
    "stream_options": (
        "stream_options",
        [{"include_usage": True}, {"include_usage": False}, {}],
        [{"include_usage": 1}, {"include_obfuscation": True}, *NO_MAPPINGS],
    ),
    "tools": (
        "tools",
        [[TOOL], (TOOL,), [MappingProxyType(TOOL)], [{"type": "another"}]],
        [
            *(TOOL, "f", 1, {TOOL["type"]}, ["f"], [None], [TOOL, 1]),
            *([{"type": "function", "function": "f"}], [{"type": "function", "function": None}]),
        ],
    ),
    "tool_choice": (
        "tool_choice",
        ["none", "auto", "required", {"type": "function", "function": {"name": "f"}}],
        ["any", "f", "", 1, True, ["auto"]],
    ),
    "parallel_tool_calls": ("parallel_tool_calls", [True, False], NO_BOOLEANS),
    "response_format": ("response_format", [{"type": "text"}, {"type": "json_object"}, SCHEMA], NO_MAPPINGS),
    "reasoning_effort": ("reasoning_effort", ["none", "low", "medium", "high", "max"], ["", *NO_TEXTS]),
    "reasoning_format": (
        "reasoning_format",
        ["none", "parsed", "text_parsed", "raw", "hidden"],
        ["json", "", *NO_TEXTS],
    ),
    "disable_reasoning": ("disable_reasoning", [True, False], NO_BOOLEANS),
    "clear_thinking": ("clear_thinking", [True, False], NO_BOOLEANS),
    "prediction": ("prediction", [{"type": "content", "content": "text"}], NO_MAPPINGS),
    "prompt_cache_key": ("prompt_cache_key", ["", "k" * 1024], ["k" * 1025, *NO_TEXTS]),
    "service_tier": ("service_tier", ["auto", "default", "flex", "priority"], ["fast", "", *NO_TEXTS]),
    "model_parameters": ("model_parameters", [{}, {"a": 1}, MappingProxyType({"a": 1})], NO_MAPPINGS),
    "user": ("user", ["", "somebody"], NO_TEXTS),
    "queue_threshold": (None, [50, 20_000], [49, 20_001, *NO_INTEGERS]),
}
TAKEN = [(name, value) for name, (_, taken, _) in TABLE.items() for value in taken]
REFUSED = [(name, value) for name, (_, _, refused) in TABLE.items() for value in refused]


def short_id(value):
    return repr(value)[:40]


# -- names and values


def test_the_table_holds_every_parameter_of_the_api():
    """`messages`, `model` and `stream` are the request's own; `max_tokens` and `min_tokens` have two names each."""
    assert set(PARAMETERS) == set(TABLE)


@pytest.mark.parametrize(("name", "value"), TAKEN, ids=short_id)
def test_what_the_api_takes_passes_unchanged_under_its_name_on_the_wire(name, value):
    """The ends of every range belong to it."""
    parameters = to_parameters({name: value})
    assert parameters == {name: value}
    request = ChatRequest("m", HI, parameters)
    body = request.to_body(stream=True)
    if TABLE[name][0] is None:
        assert request.to_headers() == {name: str(value)}
        assert set(body) == {"model", "messages", "stream"}
    else:
        assert request.to_headers() == {}
        assert {key: body[key] for key in set(body) - {"model", "messages", "stream"}} == {TABLE[name][0]: value}


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=short_id)
def test_what_the_api_refuses_is_refused_here_with_name_value_and_remedy(name, value):
    """Before anything is sent. A bool is no number, NaN and the infinities are in no range."""
    with pytest.raises(ValueError, match=rf"^{name}=.+ is not valid: \w") as caught:
        to_parameters({name: value})
    assert repr(value)[:70] in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(ValueError):
        check_parameter(name, value)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("n", 0, "give a whole number from 1"),
        ("top_logprobs", 21, "give a whole number from 0 to 20"),
        ("temperature", 3, "give a number from 0 to 2"),
        ("service_tier", "fast", "give one of 'auto', 'default', 'flex', 'priority'"),
        ("stop", ["a"] * 5, "give four at most"),
        ("tools", "f", "give a list of tools, each of them a mapping"),
        ("tools", [TOOL, {"type": "function", "function": "f"}], "'function' must be a mapping with a name.*"),
    ],
)
def test_the_remedy_names_the_range(name, value, remedy):
    """Nobody has to look it up."""
    with pytest.raises(ValueError, match=f"{remedy}$"):
        to_parameters({name: value})


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=short_id)
def test_unchecked_values_go_out_as_they_are(name, value):
    """`check=False` is for ranges that may be out of date."""
    parameters = to_parameters({name: value}, check=False)
    assert parameters[name] is value


@pytest.mark.parametrize("name", [*TABLE, "max_completion_tokens", "min_completion_tokens"])
def test_none_means_not_given_and_is_never_sent(name):
    """Some parameters are not nullable."""
    assert to_parameters({name: None}) == {}
    assert check_parameter(name, None) is None


@settings(deadline=None)
@given(name=st.sampled_from(["temperature", "top_p", "frequency_penalty", "presence_penalty"]), value=st.floats())
def test_a_number_passes_exactly_inside_its_range(name, value):
    """Any float there is."""
    low, high = {"temperature": (0, 2), "top_p": (0, 1)}.get(name, (-2, 2))
    if low <= value <= high:
        assert check_parameter(name, value) == value
    else:
        with pytest.raises(ValueError, match=f"from {low} to {high}"):
            check_parameter(name, value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("maxTokens", "max_tokens"),
        ("temprature", "temperature"),
        ("reasoning_efort", "reasoning_effort"),
        ("stops", "stop"),
        ("toolchoice", "tool_choice"),
        ("top_k", "top_p"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_an_unknown_name_is_refused_and_the_nearest_offered(name, nearest, check):
    """The API refuses every key it does not know, so a typo never leaves."""
    with pytest.raises(TypeError, match=rf"^unknown parameter '{name}'; did you mean '{nearest}'\? .*model_kwargs\)$"):
        to_parameters({name: 1}, check=check)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("extra_body", "use model_kwargs"),
        ("http_client", "use transport="),
        ("openai_api_base", "use base_url"),
        ("use_responses_api", "leave it out: the service has Chat Completions only"),
    ],
)
def test_a_name_of_another_vendors_model_is_refused_with_its_equivalent(name, remedy):
    """The nearest name would be wrong: ``stream_options`` for ``stream_usage``."""
    with pytest.raises(TypeError, match=rf"^unknown parameter '{name}': {remedy}$"):
        to_parameters({name: 1})


@pytest.mark.parametrize("name", ["metadata", "functions", "zzzz", ""])
def test_an_unknown_name_with_nothing_near_is_refused_without_a_guess(name):
    """Usually another API's name."""
    with pytest.raises(TypeError, match=rf"^unknown parameter '{name}'.*model_kwargs\)$"):
        to_parameters({name: None})


# -- numbers of other kinds

LEVELS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
COUNTS = ("max_tokens", "min_tokens", "top_logprobs", "n", "seed")
FLAGS = ("logprobs", "parallel_tool_calls", "disable_reasoning", "clear_thinking")


class Size(enum.IntEnum):
    ONE = 1


class Number(float):
    """As many libraries have one."""


HALVES = [
    np.float16(0.5),
    np.float32(0.5),
    np.float64(0.5),
    np.longdouble(0.5),
    Decimal("0.5"),
    Fraction(1, 2),
    Number(0.5),
]
ONES = [np.int8(1), np.int64(1), np.uint32(1), Decimal(1), Decimal("1.00"), Fraction(1), Size.ONE]
TRUTHS = [np.True_, np.bool_(0)]
NOWHERE = [
    np.float32("nan"),
    np.float64("inf"),
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("1e999999999"),
    Fraction(10**400),
    np.complex64(1),
]
KINDS = [
    *[(name, value, 0.5) for name in LEVELS for value in HALVES],
    *[(name, value, 1) for name in (*LEVELS, *COUNTS) for value in ONES],
    *[(name, value, bool(value)) for name in FLAGS for value in TRUTHS],
    *[("queue_threshold", value, 50) for value in (np.int16(50), Decimal(50))],
    *[("logit_bias", {"5": value}, {"5": 0.5}) for value in HALVES],
]
NO_KINDS = [
    *[(name, value) for name in LEVELS for value in [*NOWHERE, *TRUTHS]],
    *[(name, value) for name in COUNTS if name != "n" for value in [*NOWHERE, *TRUTHS, *HALVES, np.float64(1)]],
    *[(name, value) for name in FLAGS for value in [*HALVES, *ONES]],
    ("logit_bias", {"5": np.True_}),
]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("name", "value", "plain"), KINDS, ids=short_id)
def test_numbers_of_other_kinds_are_the_numbers_that_they_are(name, value, plain, check):
    """NumPy's, exact ones, subclasses: what leaves is a number of JSON."""
    (sent,) = to_parameters({name: value}, check=check).values()
    assert sent == plain
    assert to_json(ChatRequest("m", HI, {name: sent}).to_body(stream=False))
    inner = sent["5"] if isinstance(sent, dict) else sent
    assert type(inner) in {bool, int, float}


@pytest.mark.parametrize(("name", "value"), NO_KINDS, ids=short_id)
def test_numbers_of_other_kinds_keep_to_the_same_ranges(name, value):
    """A truth value is no number, one half no count, and an infinity in no range."""
    with pytest.raises(ValueError, match=rf"^{name}=.+ is not valid: \w"):
        to_parameters({name: value})


@pytest.mark.parametrize("check", [True, False])
def test_flat_tools_and_choices_are_nested(check):
    """The Responses API's form, which the service does not know."""
    flat = {"type": "function", "name": "f", "description": None, "parameters": {}, "strict": None}
    nested = {"type": "function", "function": {"name": "f", "parameters": {}}}
    given_ = {"tools": [flat, TOOL], "tool_choice": {"type": "function", "name": "f"}}
    assert to_parameters(given_, check=check) == {
        "tools": [nested, TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }


# -- one parameter, two names

BOTH = [("max_tokens", "max_completion_tokens"), ("min_tokens", "min_completion_tokens")]


@pytest.mark.parametrize(("ours", "theirs"), BOTH)
def test_both_names_of_a_limit_are_one_parameter(ours, theirs):
    """It leaves under the name that is not deprecated, whichever was given, or both with one value."""
    for given_names in ({ours: 5}, {theirs: 5}, {ours: 5, theirs: 5}, {ours: None, theirs: 5}, {theirs: None, ours: 5}):
        assert to_parameters(given_names) == {ours: 5}
        assert ChatRequest("m", HI, to_parameters(given_names)).to_body(stream=False)[theirs] == 5


@pytest.mark.parametrize(("ours", "theirs"), BOTH)
@pytest.mark.parametrize("values", [(5, 6), (6, 5), (0, 1)])
def test_both_names_with_different_values_are_refused(ours, theirs, values):
    """Neither is preferred."""
    for names in ((ours, theirs), (theirs, ours)):
        with pytest.raises(
            ValueError, match=f"{ours}={values[0]} and {theirs}={values[1]} are two values .*leave one out"
        ):
            to_parameters(dict(zip(names, values, strict=True)))


def test_a_none_for_one_call_can_take_a_value_back():
    """`to_our_names` keeps it, so that it lies over a default of the model."""
    assert to_our_names({"max_completion_tokens": None, "seed": 1}) == {"max_tokens": None, "seed": 1}


# -- the body


@pytest.mark.parametrize("empty", [[], ()])
@pytest.mark.parametrize("name", ["stop", "tools"])
def test_an_empty_list_of_stop_words_or_tools_is_said_by_silence(name, empty):
    """The API refuses both when they are empty."""
    for check in (True, False):
        assert to_parameters({name: empty, "seed": 1}, check=check) == {"seed": 1}


def test_stream_options_are_dropped_without_stream():
    """The API refuses them there."""
    request = ChatRequest("m", HI, to_parameters({"stream_options": {"include_usage": True}}))
    assert request.to_body(stream=False) == {"model": "m", "messages": HI}
    assert request.to_body(stream=True) == {
        "model": "m",
        "messages": HI,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_extra_keys_go_out_unchecked_over_everything_else():
    """`model_kwargs` is the way past our table, in a stream and without one."""
    request = ChatRequest("m", HI, {"seed": 1, "user": "u"}, {"seed": "any", "new_key": None, "model": "other"})
    for stream in (True, False):
        body = request.to_body(stream=stream)
        assert (body["seed"], body["user"], body["new_key"], body["model"]) == ("any", "u", None, "other")


def test_making_a_body_changes_nothing_that_was_given():
    """A request may be sent twice."""
    parameters = {"stream_options": {"include_usage": True}, "max_tokens": 1}
    request = ChatRequest("m", HI, parameters, {"messages": []})
    assert request.to_body(stream=False) == request.to_body(stream=False)
    assert request.messages is HI
    assert parameters == {"stream_options": {"include_usage": True}, "max_tokens": 1}


# -- JSON


def test_a_body_is_compact_utf_8_json():
    """Text goes out as it is and not as escapes."""
    text = "Grüße 🚀 \u2028 \x00"
    body = ChatRequest("m", [{"role": "user", "content": text}]).to_body(stream=True)
    assert json.loads(to_json(body)) == body
    assert "Grüße 🚀".encode() in to_json(body)


def test_any_mapping_is_written_as_an_object():
    """Wherever one is asked for: a read-only view is as good as a dict."""
    view = MappingProxyType({"role": "user", "content": "Hi"})
    assert json.loads(to_json({"messages": [view], "model_parameters": view})) == {
        "messages": HI,
        "model_parameters": HI[0],
    }


UNSAYABLE = [{"a set"}, 2**64, b"bytes", object(), {1: "an int as a key"}, "a lone surrogate \ud800", 1j]


@pytest.mark.parametrize("value", UNSAYABLE, ids=["set", "int", "bytes", "object", "key", "surrogate", "complex"])
def test_what_json_cannot_say_is_named_by_its_place(value):
    """The message by its number, any other key by its name."""
    good = {"role": "user", "content": "Hi"}
    with pytest.raises(ValueError, match=r"^messages\[1\] cannot be written as JSON: \w"):
        to_json({"model": "m", "messages": [good, {"role": "user", "content": value}, {"content": value}]})
    with pytest.raises(ValueError, match=r"^metadata cannot be written as JSON"):
        to_json({"model": "m", "messages": [good], "metadata": {"deep": [value]}})


def test_a_key_that_json_cannot_say_is_an_error_of_the_request():
    """Every value is good then, and no place can be named."""
    with pytest.raises(ValueError, match=r"^the request cannot be written as JSON"):
        to_json({"model": "m", "messages": HI, 5: "five"})


# -- messages


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize(
    "content", ["", "Hi", None, [{"type": "text", "text": "Hi"}], ({"type": "text", "text": "Hi"},)]
)
def test_messages_of_the_apis_form_pass(role, content):
    """Text, parts, or nothing, which an assistant's tool calls may have beside them."""
    wire = list(content) if isinstance(content, tuple) else content
    assert to_messages(({"role": role, "content": content}, {"role": role})) == [
        {"role": role, "content": wire},
        {"role": role},
    ]


def test_a_history_with_tool_calls_is_paired_and_the_given_one_is_not_changed():
    """Ids and names that the service refuses are replaced; unchecked, they stay."""
    call = {"type": "function", "function": {"name": "get weather", "arguments": "{}"}}
    history = [*HI, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "rain"}]
    _, asked, result = to_messages(history)
    assert asked["tool_calls"][0]["function"]["name"] == "get_weather"
    assert asked["tool_calls"][0]["id"] == result["tool_call_id"] == "call_1"
    assert call == {"type": "function", "function": {"name": "get weather", "arguments": "{}"}}
    assert to_messages(history, check=False)[1]["tool_calls"][0]["function"]["name"] == "get weather"


CALL = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("messages", "kind", "words"),
    [
        ([], InvalidRequestError, "messages is empty"),
        ((), InvalidRequestError, "messages is empty"),
        ("Hi", TypeError, r"messages\[0\] is a str: give a mapping with role and content"),
        ([*HI, ("user", "Hi")], TypeError, r"messages\[1\] is a tuple"),
        ([None], TypeError, r"messages\[0\] is a NoneType"),
        ([{"content": "Hi"}], InvalidRequestError, r"messages\[0\] has role None: give one of system, developer, user"),
        ([*HI, {"role": "human", "content": "Hi"}], InvalidRequestError, r"messages\[1\] has role 'human'"),
        ([{"role": ["user"], "content": "Hi"}], InvalidRequestError, r"messages\[0\] has role \['user'\]"),
        ([{"role": "user", "content": b"Hi"}], TypeError, r"messages\[0\]\.content is of type bytes: give a str"),
        ([{"role": "user", "content": 5}], TypeError, r"messages\[0\]\.content is of type int: give a str or a list"),
        ([{"role": "user", "content": {"text": "Hi"}}], TypeError, r"messages\[0\]\.content is of type dict"),
        ([{"role": "user", "content": [5]}], TypeError, r"messages\[0\]\.content\[0\] is of type int"),
        ([{"role": "user", "content": ["Hi", b"Hi"]}], TypeError, r"messages\[0\]\.content\[1\] is of type bytes"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "c1"}]}],
            TypeError,
            r"messages\[0\] has a tool call that is not",
        ),
        ([*HI, CALL, *HI], InvalidRequestError, r"messages\[1\] calls 'f' \('c1'\), but has no result"),
    ],
)
def test_other_messages_are_refused_by_their_place(messages, kind, words):
    """Which message, what it is, and what to give instead."""
    with pytest.raises(kind, match=words):
        to_messages(messages)
