"""How the arguments are shown (descriptions, the JSON schema, ``help``, ``repr``), kept and saved."""

from __future__ import annotations

import inspect
import json
import pydoc

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.load import dumps, load

from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit, Timeout
from langchain_cerebras_demo.chat_models import arguments
from langchain_cerebras_demo.keys import EnvKey
from langchain_cerebras_demo.wire.request import PARAMETERS

SECRET = "csk-sentinel-4711"
OWN = sorted(set(ChatCerebrasDemo.model_fields) - set(BaseChatModel.model_fields))


@pytest.mark.parametrize("name", OWN)
def test_every_argument_is_described(name):
    """In pydantic's own field, in the JSON schema and in help()."""
    text = ChatCerebrasDemo.model_fields[name].description
    assert text.endswith(".")
    assert ChatCerebrasDemo.model_json_schema()["properties"][name]["description"] == text
    assert f"{name}: {text}" in pydoc.plain(pydoc.render_doc(ChatCerebrasDemo))


def test_the_json_schema_leaves_out_what_json_cannot_express():
    """LangChain's callbacks and caches; pydantic's own generator would refuse the whole class."""
    schema = ChatCerebrasDemo.model_json_schema()
    assert "rate_limiter" not in schema["properties"]
    assert schema["properties"]["temperature"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert schema["properties"]["timeout"]["default"] == 60.0


def test_the_signature_names_each_argument_with_its_type():
    """For ``help`` and notebooks; the types are those that type checkers read."""
    parameters = inspect.signature(ChatCerebrasDemo).parameters
    assert set(OWN) <= set(parameters)
    assert [name for name in OWN if str(parameters[name].annotation) in {"Any", "typing.Any"}] == []
    assert "Timeout | float | None" in str(parameters["timeout"])


def test_the_repr_says_which_model_where_and_how():
    """And nothing else: not a key, not LangChain's own fields, not the profile."""
    model = ChatCerebrasDemo(model="gpt-oss", base_url="http://127.0.0.1:1/v1", reasoning_effort="low", api_key=SECRET)
    assert repr(model) == "ChatCerebrasDemo(model='gpt-oss', base_url='http://127.0.0.1:1/v1', reasoning_effort='low')"
    other = ChatCerebrasDemo(
        base_url="https://api.cerebras.ai",
        cookies={"session": SECRET},
        default_headers={"X-Team": SECRET},
        proxy=f"http://me:{SECRET}@127.0.0.1:1",
        model_kwargs={"secret": SECRET},
        timeout=Timeout(idle=1),
    )
    assert repr(other) == "ChatCerebrasDemo(model='gpt-oss-120b', base_url='https://api.cerebras.ai/v1')"
    assert SECRET not in str(other)
    assert SECRET not in repr(model.bind(user="ann")) + repr(other.with_retry())


def test_every_parameter_has_a_type_where_it_may_be_passed_with_a_call():
    """In the constructor and in a call alike: type checkers would refuse what works otherwise."""
    assert set(PARAMETERS) <= set(OWN)
    assert set(PARAMETERS) <= set(arguments.BoundArguments.__annotations__)
    assert set(PARAMETERS) - {"stop"} <= set(arguments.CallArguments.__annotations__)


KEPT = {
    "proxy": "http://127.0.0.1:9",
    "base_url": "http://127.0.0.1:9/v1",
    "timeout": Timeout(total=5),
    "default_headers": {"x-mine": "1"},
    "aliases": {"mine": "gpt-oss-120b"},
    "max_retries": 7,
    "max_concurrency": 3,
    "max_wait": 2.5,
    "user_agent": "mine/1",
    "key_resolver": EnvKey("MINE"),
    "stop": ["x"],
    "tier": "paid",
}


@pytest.mark.parametrize("name", KEPT)
def test_a_value_that_was_checked_is_kept(name):
    """Whatever a validator looks at, it gives back."""
    assert getattr(ChatCerebrasDemo(**{name: KEPT[name]}), name) == KEPT[name]


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

# Values that are not the default, among them those that are false. A new field is added here, else the test below fails.
SAVED = {
    "check_requests": [False],
    "model": ["qwen-3.8-27b"],
    "aliases": [{"mine": "gpt-oss-120b"}],
    "tier": ["paid"],
    "base_url": ["http://127.0.0.1:9/v1"],
    "temperature": [0.0, 0.5],
    "top_p": [0.0],
    "max_tokens": [5],
    "min_tokens": [-1],
    "stop": ["x", ["x", "y"]],
    "seed": [0],
    "n": [2],
    "frequency_penalty": [0.0],
    "presence_penalty": [0.0],
    "logit_bias": [{"5": 1.0}],
    "logprobs": [False, True],
    "top_logprobs": [0],
    "reasoning_effort": ["low"],
    "reasoning_format": ["parsed"],
    "disable_reasoning": [False],
    "clear_thinking": [False],
    "replay_reasoning": [False, "think_tags"],
    "response_format": [{"type": "json_object"}],
    "tools": [[FUNCTION]],
    "tool_choice": ["none", {"type": "function", "function": {"name": "f"}}],
    "parallel_tool_calls": [False],
    "prediction": [{"type": "content", "content": "x"}],
    "prompt_cache_key": ["k"],
    "service_tier": ["flex"],
    "queue_threshold": [50],
    "stream_options": [{"include_usage": False}],
    "model_parameters": [{"a": 1}],
    "user": ["u"],
    "timeout": [None, 5, Timeout(connect=5, first_event=None, total=9)],
    "max_retries": [0],
    "max_concurrency": [3],
    "rate_limit": [None, RateLimit(), RateLimit(requests_per_minute=5, tokens_per_day=1_000_000)],
    "max_wait": [0.0],
    "max_queue": [0],
    "coalesce": [False],
    "compress_requests": [False, True],
    "user_agent": ["mine/1"],
    "streaming": [False, True],
    "model_kwargs": [{"a": 1}],
}
NEVER_SAVED = {"api_key", *(name for name in OWN if ChatCerebrasDemo.model_fields[name].exclude)}

WAYS_TO_SAVE = {
    "load": lambda model: load(
        json.loads(dumps(model)), allowed_objects=[ChatCerebrasDemo], valid_namespaces=["langchain_cerebras_demo"]
    ),
    "model_validate": lambda model: ChatCerebrasDemo.model_validate(model.model_dump()),
    "model_validate_json": lambda model: ChatCerebrasDemo.model_validate_json(model.model_dump_json()),
}


def test_every_field_is_saved_or_is_known_to_be_left_out():
    """Keys, callables and what may hold a secret are left out."""
    assert set(OWN) == {*SAVED, *NEVER_SAVED}


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
@pytest.mark.parametrize("way", WAYS_TO_SAVE)
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in SAVED.items() for value in values], ids=str
)
def test_a_saved_model_comes_back_with_the_same_fields(way, name, value):
    """By ``dumps`` and ``load``, and by ``model_dump``, which is what LangGraph writes into checkpoints."""
    model = ChatCerebrasDemo(**{name: value})
    loaded = WAYS_TO_SAVE[way](model)
    assert getattr(loaded, name) == value
    assert {name: getattr(loaded, name) for name in SAVED} == {name: getattr(model, name) for name in SAVED}
