"""The chat model: the same answer in all four ways of calling, arguments, state."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import pickle
import threading
import traceback
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.load import dumpd, dumps, load
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import SecretStr, ValidationError

from langchain_cerebras_demo import (
    APIError,
    AuthenticationError,
    CallableKey,
    ChatCerebrasDemo,
    MissingKeyError,
    RateLimitError,
    StaticKey,
    Timeout,
)
from langchain_cerebras_demo.chat_models.fields import CLIENT_FIELDS
from langchain_cerebras_demo.client import call as client_call
from langchain_cerebras_demo.errors import (
    APIConnectionError,
    APIResponseValidationError,
    InternalServerError,
    InvalidRequestError,
    KeyFormatError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.testing import (
    CutAfter,
    Disconnect,
    ErrorEvent,
    Gate,
    HtmlPage,
    LoopbackCerebras,
    Reply,
    ScriptedCall,
    Status,
)
from langchain_cerebras_demo.wire.request import PARAMETERS, to_json
from tests.support.ways import WAYS, in_four_ways

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning"),
]

SENTINEL = "csk-sentinel-5e3f7a1b9c"


def model_for(server, **fields):
    return ChatCerebrasDemo(**{"base_url": server.base_url, "api_key": server.key, "max_retries": 0, **fields})


# -- one answer, four ways

ANSWERS = {
    "text": Reply(text="The sky is blue because of scattering, and so on and on."),
    "reasoning": Reply(text="4.", reasoning="Two and two. That is four. I am sure."),
    "tool call": Reply(
        tool_calls=[ScriptedCall("add", {"a": 2, "b": 3}, id="call00001")], reasoning="I need the tool."
    ),
    "tool without arguments": Reply(tool_calls=[ScriptedCall("now", "", id="call00001")]),
    "broken tool call": Reply(tool_calls=[ScriptedCall("add", '{"a": 2, "b"= }', id="call00001")]),
    "cut by length": Reply(text="The sky is", finish_reason="length"),
    "filtered": Reply(text="", finish_reason="content_filter"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_all_four_ways_give_the_same_answer(server, name):
    """Text, reasoning, tool calls, usage and metadata are equal; only LangChain's run id and the times differ."""
    model = model_for(server)
    seen = {}
    for way, call in in_four_ways(model, "hello").items():
        server.script(ANSWERS[name])
        message = call()
        own = {"id", "calls"}
        metadata = {key: value for key, value in message.response_metadata.items() if key not in own}
        assert set(message.response_metadata) >= own
        (made,) = message.response_metadata["calls"]
        assert made["id"] == message.response_metadata["id"]
        assert ("ttft" in made) is ("stream" in way)
        assert set(made["time_info"]) >= {"queue_time", "prompt_time", "total_time"}
        seen[way] = {
            "content": message.content,
            "kwargs": message.additional_kwargs,
            "tool_calls": message.tool_calls,
            "invalid": [(call["name"], call["args"], call["id"]) for call in message.invalid_tool_calls],
            "usage": message.usage_metadata,
            "metadata": metadata,
        }
    assert seen["invoke"] == seen["ainvoke"] == seen["stream"] == seen["astream"]
    metadata = seen["invoke"]["metadata"]
    assert metadata["model_provider"] == "cerebras"
    assert metadata["model_name"] == "gpt-oss-120b"
    assert metadata["finish_reason"]
    assert metadata["system_fingerprint"]
    assert seen["invoke"]["usage"]["output_token_details"]["reasoning"] >= 0
    assert seen["invoke"]["usage"]["input_token_details"]["cache_read"] >= 0


def test_reasoning_stands_where_langchain_looks_for_it(server):
    """`additional_kwargs["reasoning_content"]`, which becomes a reasoning content block."""
    server.script(ANSWERS["reasoning"])
    message = model_for(server).invoke("2 + 2?")
    assert message.additional_kwargs["reasoning_content"] == "Two and two. That is four. I am sure."
    assert message.content_blocks[0]["type"] == "reasoning"
    assert message.content == "4."


def test_a_stream_has_one_chunk_a_delta_and_one_that_is_last(server):
    """With coalesce=False. Usage and metadata stand on the last chunk alone, and it says that it is the last."""
    server.script(Reply(deltas=[{"role": "assistant"}, *[{"content": letter} for letter in "abcdef"]]))
    chunks = list(model_for(server, coalesce=False).stream("hello"))
    assert [chunk.content for chunk in chunks] == [*"abcdef", ""]
    assert [chunk.chunk_position for chunk in chunks] == [None] * 6 + ["last"]
    assert [chunk.usage_metadata is not None for chunk in chunks] == [False] * 6 + [True]
    assert all(chunk.response_metadata == {"model_provider": "cerebras"} for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_tokens_come_while_the_answer_is_still_being_written(server):
    """The first chunk is here before the server has gone on to the rest."""
    gate = Gate(after=2, reply=Reply(deltas=[{"role": "assistant"}, {"content": "first "}, {"content": "second"}]))
    server.script(gate)
    chunks = model_for(server).astream("hello")
    assert (await anext(chunks)).content == "first "
    gate.open()
    assert "".join([chunk.content async for chunk in chunks]) == "second"


def test_several_answers_come_by_invoke_and_are_refused_while_streaming(server):
    """n=2 gives two generations; a stream of two would mix them."""
    model = model_for(server, n=2)
    result = model.generate([[HumanMessage("hello")]])
    assert len(result.generations[0]) == 2
    with pytest.raises(ValueError, match="n=2"):
        list(model.stream("hello"))


@pytest.mark.parametrize(
    ("of_the_model", "of_the_call", "sent"),
    [
        ({"reasoning_effort": "high"}, {"disable_reasoning": True}, "none"),
        ({"reasoning_effort": "high"}, {"disable_reasoning": False}, "high"),
        ({"disable_reasoning": True}, {"reasoning_effort": "high"}, "high"),
        ({"disable_reasoning": True}, {"reasoning_effort": None}, "none"),
        ({"disable_reasoning": True, "reasoning_effort": "low"}, {"disable_reasoning": False}, "low"),
    ],
)
def test_reasoning_that_a_call_disables_or_demands_overrides_the_models_setting(
    server, of_the_model, of_the_call, sent
):
    """`disable_reasoning` and `reasoning_effort` are two names for one setting, so the call's wins."""
    model_for(server, model="qwen-3.8-27b", **of_the_model).invoke("hello", **of_the_call)
    assert server.requests[-1].json["reasoning_effort"] == sent
    assert not server.requests[-1].json.get("disable_reasoning")


def test_a_call_that_disables_reasoning_and_demands_an_effort_is_refused(server):
    """Nothing tells which of the two is meant."""
    with pytest.raises(InvalidRequestError, match=r"disable_reasoning=True.*reasoning_effort='high'"):
        model_for(server, model="qwen-3.8-27b").invoke("hello", disable_reasoning=True, reasoning_effort="high")
    assert not server.requests


def test_a_chain_runs(server):
    """prompt | model | parser, plain and streamed."""
    server.script(Reply(text="Hello Ann"), Reply(text="Hello Ann"))
    chain = ChatPromptTemplate.from_messages([("system", "Be kind."), ("user", "Greet {name}")]) | model_for(server)
    chain = chain | StrOutputParser()
    assert chain.invoke({"name": "Ann"}) == "Hello Ann"
    assert "".join(chain.stream({"name": "Ann"})) == "Hello Ann"
    assert server.requests[0].json["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Greet Ann"},
    ]


def test_batches_are_answered_in_order(server):
    """batch and abatch, each answer at its place."""
    model = model_for(server)
    prompts = [f"say number {number}" for number in range(10)]
    answers = [message.content for message in model.batch(prompts)]
    assert all(f"number {number}" in answer for number, answer in enumerate(answers))
    assert [message.content for message in asyncio.run(model.abatch(prompts))] == answers


# -- failures, in all four ways

FAILURES = [
    (Disconnect(), Disconnect(), APIConnectionError),
    (CutAfter(events=3), CutAfter(events=3), APIConnectionError),
    (ErrorEvent(after=2), ErrorEvent(after=2), InternalServerError),
    (HtmlPage(), HtmlPage(), APIResponseValidationError),
]


@pytest.mark.parametrize(("step", "again", "kind"), FAILURES, ids=lambda value: type(value).__name__)
def test_a_failure_is_the_same_typed_error_in_all_four_ways(server, step, again, kind):
    """A cut stream, an error event, a web page, a hang-up."""
    model = model_for(server)
    for way, call in in_four_ways(model, "hello").items():
        server.script(step)
        with pytest.raises(kind):
            call()
            pytest.fail(f"{way} took it for an answer")


def test_a_server_that_is_killed_is_a_typed_error_in_all_four_ways():
    """Before the call: no connection. The port is closed, nothing hangs."""
    with LoopbackCerebras() as server:
        model = model_for(server)
        server.kill()
        for call in in_four_ways(model, "hello").values():
            with pytest.raises(APIConnectionError):
                call()


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_an_interrupted_stream_carries_the_merged_message(server, way):
    """`partial` is an AIMessageChunk with all that had come: text and reasoning."""
    deltas = [{"role": "assistant"}, {"reasoning": "Hm. "}, {"content": "Hello "}, {"content": "Ann"}, {"content": "!"}]
    server.script(CutAfter(events=4, reply=Reply(deltas=deltas)))
    with pytest.raises(StreamInterruptedError) as caught:
        in_four_ways(model_for(server), "hello")[way]()
    partial = caught.value.partial
    assert isinstance(partial, AIMessageChunk)
    assert (partial.content, partial.additional_kwargs["reasoning_content"]) == ("Hello Ann", "Hm. ")


async def test_leaving_a_stream_closes_the_connection(server):
    """break in `async for`: the server stops at once."""
    server.script(Gate(after=3))
    async for _ in model_for(server).astream("hello"):
        break
    assert await asyncio.to_thread(server.wait_for_disconnect, 5)


def test_leaving_a_synchronous_stream_closes_the_connection(server):
    """break in `for`: likewise."""
    server.script(Gate(after=3))
    for _ in model_for(server).stream("hello"):
        break
    assert server.wait_for_disconnect(5)


# -- arguments


# A good value for every parameter of the API; a new one is added here, else the test below fails.
VALUES = {
    "max_tokens": 90,
    "min_tokens": 2,
    "temperature": 0.5,
    "top_p": 0.9,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.2,
    "logit_bias": {"5": 1.0},
    "logprobs": True,
    "top_logprobs": 2,
    "n": 2,
    "seed": 1,
    "stop": ["x"],
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "reasoning_format": "parsed",
    "disable_reasoning": True,
    "clear_thinking": True,
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "k",
    "service_tier": "flex",
    "model_parameters": {"a": 1},
    "user": "u",
    "queue_threshold": 50,
}
NEEDS = {
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": VALUES["tools"]},
    "parallel_tool_calls": {"tools": VALUES["tools"]},
}
WIRE_NAMES = {"max_tokens": "max_completion_tokens", "min_tokens": "min_completion_tokens"}

# The other fields: where each of them acts.
ON_THE_WIRE = {
    "model": "body",
    "model_kwargs": "body",
    "api_key": "header",
    "default_headers": "header",
    "user_agent": "header",
}
HERE = {
    "check_requests": "Call: whether parameters are checked",
    "replay_reasoning": "messages.to_wire: whether, and in which form, earlier reasoning is sent",
    "tier": "profile.to_profile: which limits the profile holds",
    "coalesce": "generations.to_chunks",
    "streaming": "LangChain's BaseChatModel: whether invoke streams",
    **{name: "fields._make_client: a setting of the client" for name in CLIENT_FIELDS if name not in ON_THE_WIRE},
}


def test_every_field_is_sent_or_is_known_to_act_on_this_side():
    """A field that is declared and forgotten fails here."""
    own = set(ChatCerebrasDemo.model_fields) - set(BaseChatModel.model_fields)
    assert own == {*PARAMETERS, *ON_THE_WIRE, *HERE}
    assert set(VALUES) == set(PARAMETERS)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_parameter_goes_out_under_the_apis_name(server, name):
    """As a key of the body, or as a header; nothing goes out that was not given."""
    model = model_for(server, model="our-endpoint", **{**NEEDS.get(name, {}), name: VALUES[name]})
    with contextlib.suppress(APIError):  # the loopback does not serve this model, which the catalogue does not know
        list(model.stream("hello")) if name == "stream_options" else model.invoke("hello")
    (request,) = server.requests
    if name == "queue_threshold":
        assert request.header("queue_threshold") == "50"
        return
    assert request.json[WIRE_NAMES.get(name, name)] == VALUES[name]
    given = {"model", "messages", "stream", *NEEDS.get(name, {}), WIRE_NAMES.get(name, name)}
    assert set(request.json) <= given


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"model": "gpt-oss"}, lambda request: request.json["model"] == "gpt-oss-120b"),
        ({"model_kwargs": {"user": "me"}}, lambda request: request.json["user"] == "me"),
        ({"default_headers": {"X-Mine": "1"}}, lambda request: request.header("x-mine") == "1"),
        ({"user_agent": "mine/1"}, lambda request: request.header("user-agent") == "mine/1"),
        ({}, lambda request: request.bearer is not None),
    ],
    ids=["model", "model_kwargs", "default_headers", "user_agent", "api_key"],
)
def test_the_other_fields_that_are_sent_are_sent(server, fields, sent):
    """In the body or in a header."""
    model_for(server, **fields).invoke("hello")
    assert sent(server.requests[0])


def test_arguments_of_a_call_win_over_fields(server):
    """invoke(temperature=…, stop=…, model=…)."""
    model = model_for(server, temperature=0.1, max_tokens=5)
    model.invoke("hello", temperature=0.9, max_completion_tokens=60, stop=["z"], model="qwen-3.8")
    body = server.requests[0].json
    assert (body["temperature"], body["max_completion_tokens"], body["stop"]) == (0.9, 60, ["z"])
    assert body["model"] == "qwen-3.8-27b"


def test_model_kwargs_go_out_unchecked(server):
    """What the API knows and we do not; here the strict server refuses it by name."""
    with pytest.raises(Exception, match="brand_new"):
        model_for(server, model_kwargs={"brand_new": 1}).invoke("hello")
    assert server.requests[0].json["brand_new"] == 1


REFUSED = [
    ({"extra_body": {}}, TypeError, r"^unknown argument 'extra_body': use model_kwargs$"),
    ({"stream_usage": True}, TypeError, r"'stream_usage': leave it out: usage is always included$"),
    ({"openai_api_key": SENTINEL}, TypeError, r"'openai_api_key': use api_key$"),
    ({"http_async_client": object()}, TypeError, r"'http_async_client': use transport=$"),
    ({"temprature": 1}, TypeError, r"'temprature'.*did you mean 'temperature'"),
    ({"temperature": float("nan")}, ValidationError, r"temperature=nan.*0 to 2"),
    ({"temperature": 3}, ValidationError, r"temperature=3.*0 to 2"),
    ({"top_p": -0.1}, ValidationError, r"top_p=-0.1"),
    ({"stop": list("abcde")}, ValidationError, r"stop=.*four"),
    ({"reasoning_effort": 3}, ValidationError, r"reasoning_effort=3.*'low'"),
    ({"replay_reasoning": "raw"}, ValidationError, r"'reasoning' or 'think_tags'"),
    ({"tier": "free"}, ValidationError, r"'trial' or 'paid'"),
    ({"base_url": "api.cerebras.ai/v1"}, ValidationError, r"base_url='api.cerebras.ai/v1'.*scheme"),
    ({"base_url": "http://"}, ValidationError, r"base_url='http://'.*host"),
    ({"aliases": {"a": "b", "b": "a"}}, ValidationError, r"a -> b -> a|b -> a -> b"),
    ({"aliases": {"": "b"}}, ValidationError, r"empty"),
    ({"timeout": -1}, ValidationError, r"timeout=-1"),
    ({"timeout": "soon"}, TypeError, r"timeout='soon'"),
    ({"default_headers": {"Authorization": "Bearer " + SENTINEL}}, KeyFormatError, r"api_key"),
    ({"base_url": f"https://me:{SENTINEL}@gateway.example/v1"}, KeyFormatError, r"contains a user"),
    ({"proxy": {"http": SENTINEL}}, TypeError, r"proxy is a dict"),
    ({"model": "a", "model_name": "b"}, TypeError, r"is an alias of 'model'"),
    ({"default_headers": {"X": SENTINEL + "\nb"}}, KeyFormatError, r"'X' contains a line break"),
    ({"cookies": {"session": 5}}, TypeError, r"cookie 'session' is a int"),
    ({"cookies": ["a"]}, TypeError, r"cookies is a list"),
    ({"cookies": {"session": SENTINEL + "\n"}}, KeyFormatError, r"cookie 'session' has a line break"),
    pytest.param({"key_resolver": object()}, TypeError, r"resolve", id="key_resolver-resolve"),
]


@pytest.mark.parametrize(("fields", "kind", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_bad_arguments_are_refused_by_name_value_and_remedy(fields, kind, words):
    """Before anything leaves the machine, and without the key that was given beside them."""
    with pytest.raises(kind, match=words) as caught:
        ChatCerebrasDemo(api_key=SENTINEL, **fields)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    if isinstance(caught.value, ValidationError):
        shown += repr(caught.value.errors()) + caught.value.json()
    assert SENTINEL not in shown


@pytest.mark.parametrize("key", ["csk-line\nbreak", "", "csk-ümlaut", "csk two", 5])
def test_a_key_that_cannot_be_a_header_is_refused_and_never_shown(key):
    """The message says what is wrong with it."""
    with pytest.raises(KeyFormatError) as caught:
        ChatCerebrasDemo(api_key=key)
    assert not key or str(key) not in str(caught.value)


@pytest.mark.parametrize(
    ("kwargs", "kind", "words"),
    [
        ({"temperature": 9}, ValueError, "temperature=9"),
        ({"temprature": 1}, TypeError, "did you mean 'temperature'"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, ValueError, "the same parameter"),
    ],
)
def test_bad_arguments_of_a_call_are_refused_before_sending(server, kwargs, kind, words):
    """The same checks as in the constructor; the error is never tried again."""
    with pytest.raises(kind, match=words) as caught:
        model_for(server).invoke("hello", **kwargs)
    assert isinstance(caught.value, InvalidRequestError)
    assert server.requests == []


OTHER_KINDS = [
    *(np.float32(0.5), np.float64(0.5), np.int64(1), np.True_, Decimal("0.5"), Decimal(1), Fraction(1, 2), Fraction(1)),
    *(True, 1, 1.0, 0.5, "0.5", "1", "true", b"x", 1j, float("nan"), np.array(1), None, [], ("a",), {"a"}, "low"),
]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_the_constructor_and_a_call_take_and_refuse_the_same(name):
    """And send the same."""
    for value in OTHER_KINDS:
        outcomes = []
        for given, kwargs in (({name: value}, {}), ({}, {name: value})):
            try:
                model = ChatCerebrasDemo(api_key="x", base_url="http://127.0.0.1:1/v1", **given)
                request, _ = model._to_request(model._client(), [HumanMessage("x")], None, kwargs)
                request = client_call.Call(model._client()._settings)._fitted(request, is_stream=False)
            except (ValueError, TypeError):
                outcomes.append("refused")
            else:
                outcomes.append((json.loads(to_json(request.to_body(stream=False))), request.to_headers()))
        assert outcomes[0] == outcomes[1], repr(value)


@pytest.mark.parametrize("way", ["invoke", "astream"])
@pytest.mark.parametrize(("name", "kind"), [(" gpt-oss-120b", ValueError), ("a\nb", ValueError), (5, TypeError)])
def test_a_name_that_no_model_can_have_is_refused_before_sending(server, way, name, kind):
    """Whichever way it was given: to a call, to the field, or to the constructor."""
    assigned = model_for(server)
    assigned.model = name
    for model in (model_for(server).bind(model=name), assigned):
        with pytest.raises(InvalidRequestError, match="The model ") as caught:
            in_four_ways(model, "hello")[way]()
        assert isinstance(caught.value, kind)
    with pytest.raises(ValidationError, match="model"):
        ChatCerebrasDemo(model=name)
    assert server.requests == []


def test_check_requests_false_sends_what_would_have_been_refused(server):
    """Our table may be out of date; names are still held against it."""
    with pytest.raises(Exception, match="temperature"):
        model_for(server, temperature=3, check_requests=False).invoke("hello")
    assert server.requests[0].json["temperature"] == 3


def test_an_empty_prompt_list_is_refused(server):
    """Nothing to answer."""
    with pytest.raises(ValueError, match="messages is empty"):
        model_for(server).invoke([])
    assert server.requests == []


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ("model_name", "model"),
        ("max_completion_tokens", "max_tokens"),
        ("stop_sequences", "stop"),
        ("request_timeout", "timeout"),
    ],
)
def test_names_of_other_integrations_are_understood(other, field):
    """What people type from habit."""
    value = {"model": "gemma-4", "max_tokens": 5, "stop": ["a"], "timeout": 3.0}[field]
    assert getattr(ChatCerebrasDemo(**{other: value}), field) == value


def test_an_alias_table_of_ones_own(server):
    """It is merged over the built-in one."""
    model = model_for(server, model="mine", aliases={"mine": "gpt-oss"})
    model.invoke("hello")
    assert server.requests[0].json["model"] == "gpt-oss-120b"


def test_a_base_url_of_the_environment_gets_the_missing_v1(monkeypatch):
    """Cerebras' own SDK wants CEREBRAS_BASE_URL without /v1."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", "https://api.cerebras.ai")
    assert ChatCerebrasDemo()._identifying_params["base_url"] == "https://api.cerebras.ai/v1"


def test_timeouts_are_a_number_or_a_timeout():
    """Both are accepted."""
    assert ChatCerebrasDemo(timeout=3)._client()._settings.timeout == Timeout(3, 3, 3)
    assert ChatCerebrasDemo(timeout=Timeout(total=9))._client()._settings.timeout.total == 9


# -- state


def test_nothing_shows_the_key(server):
    """repr, str, dumps, params for tracers and cache, and the pickle."""
    model = ChatCerebrasDemo(
        base_url=server.base_url, api_key=SENTINEL, cookies={"session": SENTINEL}, default_headers={"X-Token": SENTINEL}
    )
    shown = [
        repr(model),
        str(model),
        dumps(model),
        repr(model._identifying_params),
        repr(model._get_invocation_params()),
        repr(model._get_ls_params()),
        model._get_llm_string(),
        repr(vars(model)),
        repr(model.__pydantic_private__),
        str(pickle.dumps(ChatCerebrasDemo(api_key=SENTINEL, cookies={"session": SENTINEL}))),
        str(
            pickle.dumps(ChatCerebrasDemo().model_copy(update={"api_key": SENTINEL, "cookies": {"session": SENTINEL}}))
        ),
    ]
    assert [text for text in shown if SENTINEL in text and "X-Token" not in text] == []
    assert SENTINEL not in dumps(model)


def test_copies_in_the_process_keep_the_key(server):
    """deepcopy, copy and model_copy answer at once."""
    model = model_for(server)
    for copied in (copy.deepcopy(model), copy.copy(model), model.model_copy(update={"temperature": 0.5})):
        assert copied.invoke("hello").content


def test_a_pickle_holds_no_key_and_its_copy_says_so(server, monkeypatch):
    """The copy asks the environment again; where it has none the error says that one was dropped."""
    remote = pickle.loads(pickle.dumps(ChatCerebrasDemo(api_key=SENTINEL)))
    with pytest.raises(MissingKeyError, match="api_key: it was dropped when the object was pickled"):
        remote.invoke("hello")
    copied = pickle.loads(pickle.dumps(model_for(server, temperature=0.5)))
    assert copied.temperature == 0.5
    monkeypatch.setenv("CEREBRAS_API_KEY", server.key)
    assert copied.invoke("hello").content


@pytest.mark.parametrize("way", ["invoke", "astream"])
@pytest.mark.parametrize(
    "fields", [{"api_key": SENTINEL}, {"key_resolver": StaticKey(SENTINEL)}], ids=["key", "resolver"]
)
@pytest.mark.parametrize("wrong", [None, "csk-wrong-of-the-environment"])
def test_a_401_says_that_an_explicit_key_was_dropped(server, monkeypatch, way, fields, wrong):
    """On loopback too, where a call without a key is sent; with a wrong one of the environment as well."""
    copied = pickle.loads(pickle.dumps(model_for(server, **{"api_key": None, **fields})))
    if wrong:
        monkeypatch.setenv("CEREBRAS_API_KEY", wrong)
    server.script(*[Status(401)] * 2)
    with pytest.raises(
        AuthenticationError, match=r"api_key was dropped when the model was pickled or saved.*Set it again"
    ):
        in_four_ways(copied, "hello")[way]()
    assert {request.bearer for request in server.requests} == {wrong}


def test_a_401_says_nothing_of_a_dropped_key_that_was_not_missed(server):
    """A source before it has the key that was refused; or nothing was dropped."""
    copied = pickle.loads(pickle.dumps(model_for(server, key_resolver=CallableKey(wrong_key))))
    for model in (copied, model_for(server, api_key="csk-wrong")):
        server.script(*[Status(401)] * 2)
        with pytest.raises(AuthenticationError) as caught:
            model.invoke("hello")
        assert "dropped" not in str(caught.value)


async def wrong_key():
    return "csk-wrong"


@pytest.mark.parametrize("key", [SENTINEL, SecretStr(SENTINEL), wrong_key, lambda: SENTINEL])
def test_model_dump_holds_no_key_and_a_model_made_of_it_says_so(key):
    """LangGraph writes it into checkpoints. The profile is made anew."""
    model = ChatCerebrasDemo(model="qwen-3.8", temperature=0.5, api_key=key)
    assert SENTINEL not in repr(model.model_dump()) + model.model_dump_json()
    for loaded in (
        ChatCerebrasDemo(**model.model_dump()),
        ChatCerebrasDemo.model_validate_json(model.model_dump_json()),
        ChatCerebrasDemo(**ChatCerebrasDemo(**model.model_dump()).model_dump()),
    ):
        assert (loaded.temperature, loaded.profile) == (0.5, model.profile)
        loaded.model = "gpt-oss-120b"
        assert loaded.profile == ChatCerebrasDemo().profile
        with pytest.raises(MissingKeyError, match="api_key: it was dropped when the object was pickled or saved"):
            loaded.invoke("hello")
    assert ChatCerebrasDemo().model_dump()["api_key"] is None


def test_a_resolver_of_ones_own_is_asked_first(server):
    """key_resolver before api_key."""
    model = model_for(server, api_key="csk-wrong", key_resolver=StaticKey(server.key))
    assert model.invoke("hello").content


def test_secret_str_and_callables_are_keys(server):
    """A callable is asked again for each request."""
    asked = []

    async def key():
        asked.append(1)
        return SecretStr(server.key)

    assert model_for(server, api_key=SecretStr(server.key)).invoke("hello").content
    model = model_for(server, api_key=key)
    model.invoke("hello")
    asyncio.run(model.ainvoke("hello"))
    assert len(asked) == 2


def test_a_changed_field_takes_effect(server):
    """Fields may be assigned after construction."""
    model = ChatCerebrasDemo(api_key="csk-wrong", base_url="http://127.0.0.1:9", max_retries=0)
    model.base_url, model.api_key = server.base_url, server.key
    assert model.invoke("hello").content


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_dumps_and_load_round_trip(monkeypatch):
    """The class allowed, the key from the environment again."""
    monkeypatch.setenv("CEREBRAS_API_KEY", SENTINEL)
    model = ChatCerebrasDemo(model="qwen-3.8", temperature=0.3, api_key=SENTINEL)
    text = dumps(model)
    assert SENTINEL not in text
    loaded = load(
        __import__("json").loads(text),
        allowed_objects=[ChatCerebrasDemo],
        valid_namespaces=["langchain_cerebras_demo"],
        secrets_from_env=True,
    )
    assert (loaded.model, loaded.temperature) == ("qwen-3.8", 0.3)


def test_a_constructor_opens_nothing():
    """No thread, no socket, no file: the first call does."""
    threads = threading.active_count()
    for _ in range(10):
        ChatCerebrasDemo(api_key="csk-x")
    assert threading.active_count() == threads


def test_langsmith_reads_the_right_provider_and_model(server):
    """ls_provider equals model_provider, or summarisation ignores reported usage."""
    model = model_for(server, temperature=0.4, max_tokens=80, stop="x")
    params = model._get_ls_params()
    assert params["ls_provider"] == model.invoke("hello").response_metadata["model_provider"] == "cerebras"
    assert params["ls_model_name"] == "gpt-oss-120b"
    assert (params["ls_temperature"], params["ls_max_tokens"], params["ls_stop"]) == (0.4, 80, ["x"])
    assert model._get_ls_params(stop=["y"], temperature=1)["ls_stop"] == ["y"]


class Starts(BaseCallbackHandler):
    """What a tracer sees when a run begins."""

    def on_chat_model_start(self, _serialized, _messages, *, metadata, invocation_params, **_others):
        self.metadata, self.parameters = metadata, invocation_params


@pytest.mark.parametrize(
    ("fields", "called"),
    [
        ({}, {}),
        ({"max_tokens": 100, "temperature": 0.5, "stop": "x"}, {}),
        ({"max_tokens": 100}, {"max_completion_tokens": 50}),
        ({"max_completion_tokens": 100}, {"max_tokens": 50}),
        ({"max_tokens": 100}, {"max_tokens": None, "max_completion_tokens": 50}),
        (
            {"max_tokens": 100, "temperature": 0.5, "stop": ["x"]},
            {"max_tokens": None, "temperature": None, "stop": None},
        ),
        ({"stop": ["x"]}, {"stop": ["y", "z"]}),
        ({"model": "qwen-3.8-27b"}, {"model": None}),
        ({"model": "qwen-3.8-27b"}, {"model": "gpt-oss-120b"}),
        ({"temperature": 0.5, "max_tokens": 9, "model_kwargs": {"temperature": 0.1, "max_completion_tokens": 7}}, {}),
        ({"model_kwargs": {"temperature": 0.1}}, {"temperature": 0.7, "model_kwargs": {"max_completion_tokens": 7}}),
        ({"model_kwargs": {"temperature": 0.1}}, {"model_kwargs": None}),
    ],
)
def test_traces_show_what_was_sent(server, fields, called):
    """The arguments of a call override the fields, under either of their names, and model_kwargs override both."""
    seen = Starts()
    model_for(server, **fields).invoke("hello", {"callbacks": [seen]}, **called)
    sent = server.requests[0].json
    stops = sent.get("stop")
    assert {name: value for name, value in seen.metadata.items() if name in TRACED} == {
        name: value
        for name, value in {
            "ls_model_name": sent["model"],
            "ls_temperature": sent.get("temperature"),
            "ls_max_tokens": sent.get("max_completion_tokens"),
            "ls_stop": [stops] if isinstance(stops, str) else stops,
        }.items()
        if value is not None
    }
    assert (seen.parameters["model"], seen.parameters["model_name"]) == (sent["model"], sent["model"])
    shown = {**seen.parameters, **seen.parameters.get("model_kwargs", {})}
    shown["max_tokens"] = shown.pop("max_completion_tokens", shown.get("max_tokens"))
    for name, wire in (("temperature", "temperature"), ("stop", "stop"), ("max_tokens", "max_completion_tokens")):
        assert shown.get(name) == sent.get(wire)


TRACED = {"ls_model_name", "ls_temperature", "ls_max_tokens", "ls_stop"}


@pytest.mark.parametrize("called", [{"max_tokens": 3, "max_completion_tokens": 4}, {"model_kwargs": 5}])
def test_a_call_whose_arguments_cannot_be_traced_is_refused_by_the_call_itself(server, called):
    """So that it has a record, as every call."""
    records = []
    with pytest.raises(InvalidRequestError):
        model_for(server, on_call=records.append).invoke("hello", **called)
    assert [record.outcome for record in records] == ["failed"]


def test_system_and_tool_messages_reach_the_wire(server):
    """A tool round trip as an agent makes it."""
    server.script(ANSWERS["tool call"], Reply(text="5"))
    model = model_for(server)
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    history = [SystemMessage("Use tools."), HumanMessage("2 + 3?")]
    call = model.invoke(history, tools=[tool])
    from langchain_core.messages import ToolMessage

    answer = model.invoke([*history, call, ToolMessage("5", tool_call_id=call.tool_calls[0]["id"])], tools=[tool])
    assert answer.content == "5"
    assert [message["role"] for message in server.requests[1].json["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]


@pytest.mark.parametrize("fields", [{"fooo": 1}, {"max_retries": -1}, {"temperature": 9}])
def test_no_frame_of_a_refused_constructor_holds_the_key(fields):
    """A traceback with local variables, as error trackers take it."""
    with pytest.raises((TypeError, ValueError)) as caught:
        ChatCerebrasDemo(api_key=SENTINEL, **fields)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [frame for frame in frames if "tests" not in frame.filename]
    assert ours
    assert [frame.name for frame in ours if SENTINEL in repr(frame.locals)] == []


# -- state, and LangChain's own switches


DELTAS = Reply(
    deltas=[{"role": "assistant"}, {"reasoning": "Hm."}, {"content": "a"}, {"content": "b"}, {"content": "c"}]
)


def test_a_cache_answers_the_second_call_and_tells_models_apart(server):
    """By endpoint, model and settings; the key is no part of it."""
    cache = InMemoryCache()
    first = model_for(server, cache=cache)
    assert first.invoke("hello").content == first.invoke("hello").content
    assert len(server.requests) == 1
    model_for(server, cache=cache, temperature=0.5).invoke("hello")
    model_for(server, cache=cache, model="qwen-3.8-27b").invoke("hello")
    assert len(server.requests) == 3
    with LoopbackCerebras() as other:
        model_for(other, cache=cache).invoke("hello")
        assert len(other.requests) == 1
    assert server.key not in str(cache._cache)


def test_fields_may_be_configured_at_a_call(server):
    """By the names that the constructor takes."""
    model = model_for(server).configurable_fields(
        model=ConfigurableField("model"), temperature=ConfigurableField("temperature")
    )
    model.with_config(configurable={"model": "qwen-3.8", "temperature": 0.25}).invoke("hello")
    assert server.requests[0].json["model"] == "qwen-3.8-27b"
    assert server.requests[0].json["temperature"] == 0.25


def configured(model):
    return model.configurable_fields(model=ConfigurableField("model")).with_config(configurable={"model": "qwen-3.8"})


def from_langgraphs_checkpoint(model):
    serializer = JsonPlusSerializer(allowed_msgpack_modules=[(ChatCerebrasDemo.__module__, "ChatCerebrasDemo")])
    return serializer.loads_typed(serializer.dumps_typed(model))


REMADE = {
    "configured": configured,
    "made of model_dump": lambda model: ChatCerebrasDemo.model_validate(model.model_dump()),
    "from a checkpoint": from_langgraphs_checkpoint,
    "loaded": lambda model: load(
        dumpd(model), allowed_objects=[ChatCerebrasDemo], valid_namespaces=["langchain_cerebras_demo"]
    ),
}


@pytest.mark.parametrize("remade", REMADE)
async def test_a_model_made_of_anothers_fields_streams(server, remade, monkeypatch):
    """LangChain passes every field on, and reads an explicit streaming=False as a wish never to stream."""
    monkeypatch.setenv("CEREBRAS_API_KEY", server.key)
    model = REMADE[remade](model_for(server, api_key=None, coalesce=False, timeout=Timeout(total=60)))
    chain = ChatPromptTemplate.from_template("{x}") | model | StrOutputParser()
    server.script(DELTAS, DELTAS)
    assert [text for text in chain.stream({"x": "hi"}) if text] == ["a", "b", "c"]
    events = [event["event"] async for event in chain.astream_events({"x": "hi"}, version="v2")]
    assert events.count("on_chat_model_stream") > 3
    assert [request.json["stream"] for request in server.requests] == [True, True]


@pytest.mark.parametrize(
    ("streaming", "called", "sent"),
    [(None, "stream", True), (None, "invoke", False), (True, "invoke", True), (False, "stream", False)],
)
def test_streaming_decides_in_both_directions_and_none_leaves_it_to_the_call(server, streaming, called, sent):
    """True makes ``invoke`` stream internally, and False turns streaming off."""
    model = model_for(server, streaming=streaming)
    list(model.stream("hi")) if called == "stream" else model.invoke("hi")
    assert server.requests[0].json.get("stream", False) is sent


def test_with_retry_is_told_what_may_be_tried_again(server):
    """Core's default retries every exception, a 401 too; these classes are those worth it."""
    retryable = tuple(kind for kind in all_errors() if kind.is_retryable)
    patient = model_for(server).with_retry(
        retry_if_exception_type=retryable, wait_exponential_jitter=False, stop_after_attempt=3
    )
    server.script(Status(503), Reply(text="second"))
    assert patient.invoke("hello").content == "second"
    server.script(Status(401))
    with pytest.raises(APIError, match="401"):
        patient.invoke("hello")
    assert len(server.requests) == 3


def all_errors():
    from langchain_cerebras_demo import errors

    found = (getattr(errors, name) for name in errors.__all__)
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, errors.CerebrasError)]


def test_with_fallbacks_asks_another_model(server):
    """A limit is used up here; there it is not."""
    server.script(Status(429), Reply(text="from the other"))
    chain = model_for(server).with_fallbacks(
        [model_for(server, model="qwen-3.8")], exceptions_to_handle=(RateLimitError,)
    )
    assert chain.invoke("hello").content == "from the other"


class CountingLimiter(BaseRateLimiter):
    def __init__(self):
        self.acquired = 0

    def acquire(self, *, blocking=True):
        self.acquired += 1
        return True

    async def aacquire(self, *, blocking=True):
        return self.acquire()


def test_a_rate_limiter_is_asked_once_a_call(server):
    """LangChain's own, in all four ways."""
    limiter = CountingLimiter()
    model = model_for(server, rate_limiter=limiter)
    model.invoke("hello")
    list(model.stream("hello"))
    asyncio.run(model.ainvoke("hello"))
    assert limiter.acquired == 3


@pytest.mark.parametrize(("switch", "streamed"), [(True, False), (False, True), ("tool_calling", True)])
def test_streaming_can_be_disabled(server, switch, streamed):
    """disable_streaming, LangChain's own field."""
    list(model_for(server, disable_streaming=switch).stream("hello"))
    assert server.requests[0].json.get("stream", False) is streamed


class Tokens(BaseCallbackHandler):
    def __init__(self):
        self.tokens = []

    def on_llm_new_token(self, token, **kwargs):
        self.tokens.append(token)


class AsyncTokens(AsyncCallbackHandler):
    def __init__(self):
        self.tokens = []

    async def on_llm_new_token(self, token, **kwargs):
        self.tokens.append(token)


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize(
    ("way", "kind"), [("stream", Tokens), *[(way, kind) for way in ("astream", "v3") for kind in (Tokens, AsyncTokens)]]
)
def test_callbacks_hear_every_token_once(server, way, kind):
    """On the chunk path and on the event path, sync and async."""
    server.script(DELTAS)
    handler, model = kind(), model_for(server, coalesce=False)
    config = {"callbacks": [handler]}

    async def run():
        if way == "astream":
            return [chunk async for chunk in model.astream("hello", config)]
        stream = await model.astream_events("hello", config, version="v3")
        return await stream.output

    list(model.stream("hello", config)) if way == "stream" else asyncio.run(run())
    assert [token for token in handler.tokens if token] == ["a", "b", "c"]


def test_one_model_is_used_by_many_threads_and_loops_at_once(server):
    """16 threads, sync and async by turns: every call answered, none mixed up."""
    model = model_for(server)
    answers = {}

    def ask(number):
        prompt = f"say number {number}"
        message = model.invoke(prompt) if number % 2 else asyncio.run(model.ainvoke(prompt))
        answers[number] = message.content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f"number {number}" in answers[number] for number in range(16))


def test_traces_tell_our_version():
    """Beside LangChain's own."""
    from langchain_cerebras_demo import __version__

    versions = ChatCerebrasDemo().metadata["lc_versions"]
    assert versions["langchain-cerebras-demo"] == __version__
    assert "langchain-core" in versions


# -- parity

ANSWERS_OF_ALL_KINDS = {
    "text": Reply(text="The sky is blue because of scattering, and so on."),
    "reasoning": Reply(text="4.", reasoning="Two and two. That is four."),
    "a tool call": Reply(tool_calls=[ScriptedCall("add", {"a": 2, "b": 3}, id="call00001")]),
    "several tool calls": Reply(
        text="Let me see.",
        reasoning="Both.",
        tool_calls=[ScriptedCall("add", {"a": 2}, id="call00001"), ScriptedCall("sub", {"a": 3}, id="call00002")],
    ),
    "cut by length": Reply(text="The sky is", finish_reason="length"),
    "reasoning cut by length": Reply(reasoning="Let me think about", finish_reason="length"),
    "filtered": Reply(text="", finish_reason="content_filter"),
    "think tags": Reply(text="<think>Hm.</think>\n\nFour."),
}


MEASURED = ("id", "request_id", "ttft", "tokens_per_second", "time_info")


def facts_of(message):
    """What a user reads of an answer; ids and times are the run's own."""
    metadata = {
        key: value
        for key, value in message.response_metadata.items()
        if key not in {"id", "output_version", "logprobs", "calls"}
    }
    (call,) = message.response_metadata["calls"]
    return {
        "text": message.text,
        "reasoning": "".join(block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning"),
        "tool_calls": message.tool_calls,
        "invalid": [(call["name"], call["args"]) for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "metadata": metadata,
        "call": {key: value for key, value in call.items() if key not in MEASURED},
        "timed": set(call["time_info"]),
    }


@pytest.mark.parametrize("name", ANSWERS_OF_ALL_KINDS)
def test_every_way_gives_the_same_answer(server, name):
    """Content, reasoning, tool calls, usage and metadata: equal through all seven ways and both output versions."""
    seen = {}
    for output_version in (None, "v1"):
        model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, output_version=output_version)
        for way, call in WAYS.items():
            server.script(ANSWERS_OF_ALL_KINDS[name])
            seen[way, output_version] = facts_of(call(model))
    first = seen["invoke", None]
    assert {way: facts for way, facts in seen.items() if facts != first} == {}
    assert first["metadata"]["finish_reason"]
    assert first["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "astream_events v2"])
def test_log_probabilities_come_whole(server, way):
    """In response_metadata, a list of tokens in the order they came; the same whichever way."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, logprobs=True, top_logprobs=2)
    tokens = [WAYS[one](model).response_metadata["logprobs"]["content"] for one in ("invoke", way)]
    assert len(tokens[0]) > 3
    assert [token["token"] for token in tokens[0]] == [token["token"] for token in tokens[1]]


@pytest.mark.parametrize("way", ["generate", "agenerate"])
def test_two_answers_are_two_generations(server, way):
    """n=2: each has its own text; the usage counts both and is on the first."""
    from langchain_core.messages import HumanMessage

    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, n=2)
    asked = [[HumanMessage("hello")]]
    result = model.generate(asked) if way == "generate" else asyncio.run(model.agenerate(asked))
    first, second = result.generations[0]
    assert first.message.usage_metadata
    assert second.message.usage_metadata is None
    assert first.text
    assert second.text
    assert second.message.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize(("given", "sent"), [(None, False), (True, True), (False, False)])
def test_reasoning_in_think_tags_is_kept_by_the_service_unless_a_user_says_otherwise(server, given, sent):
    """GLM drops the reasoning of earlier turns by default, which is then sent back for nothing."""
    before = AIMessage("Hello.", additional_kwargs={"reasoning_content": "A greeting."})
    model = model_for(server, model="our-endpoint", replay_reasoning="think_tags", clear_thinking=given)
    with contextlib.suppress(APIError):  # what is sent is what counts
        model.invoke([HumanMessage("hi"), before, HumanMessage("and now?")])
    assert server.requests[-1].json["clear_thinking"] is sent


def test_the_repr_of_a_local_model_names_the_embedded_model():
    """Which answers, whatever ``model`` says."""
    assert repr(ChatCerebrasDemo(base_url="local")) == "ChatCerebrasDemo(model='smollm2-135m', base_url='local')"
