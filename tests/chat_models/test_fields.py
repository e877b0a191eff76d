"""How the arguments are shown: descriptions, the JSON schema, ``help``, ``repr``."""

from __future__ import annotations

import inspect
import pydoc

import pytest
from langchain_core.language_models.chat_models import BaseChatModel

from langchain_cerebras_demo import ChatCerebrasDemo, Timeout
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
