"""Profile, token estimates, model lists."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import HumanMessage, trim_messages

from langchain_cerebras_demo import ChatCerebrasDemo


def test_the_profile_comes_from_the_catalogue():
    """By id or alias; the smallest window of all tiers, since a key does not tell its tier."""
    for name in ("gpt-oss-120b", "gpt-oss"):
        profile = ChatCerebrasDemo(model=name).profile
        assert (profile["max_input_tokens"], profile["max_output_tokens"]) == (65_536, 32_768)
        assert profile["tool_calling"]
        assert profile["reasoning_output"]
        assert not profile["image_inputs"]
    assert ChatCerebrasDemo(model="qwen-3.8").profile["image_inputs"]


def test_an_unknown_model_has_no_profile_and_ones_own_wins():
    """Nothing is guessed of a dedicated endpoint; the embedded model is none of the catalogue's."""
    assert not ChatCerebrasDemo(model="my-endpoint").profile
    assert not ChatCerebrasDemo(base_url="local").profile
    assert ChatCerebrasDemo(profile={"max_input_tokens": 5}).profile == {"max_input_tokens": 5}


def test_tokens_are_estimated_without_a_tokenizer():
    """Text, messages, tools and images all count; no network, no extra package."""
    model = ChatCerebrasDemo()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    plain = model.get_num_tokens_from_messages([HumanMessage("hello")])
    assert model.get_num_tokens("x" * 400) == 100
    assert model.get_num_tokens_from_messages([HumanMessage(["hello", image])]) >= plain + 280
    assert model.get_num_tokens_from_messages([HumanMessage("hello")], tools=[len]) > plain


def test_a_counter_of_ones_own_is_asked_first():
    """custom_get_token_ids, LangChain's own field."""
    model = ChatCerebrasDemo(custom_get_token_ids=lambda text: list(range(len(text))))
    assert model.get_num_tokens("abc") == 3


def test_trim_messages_counts_by_the_model():
    """Offline."""
    kept = trim_messages(
        [HumanMessage("word " * 100), HumanMessage("x")], max_tokens=20, token_counter=ChatCerebrasDemo()
    )
    assert [message.content for message in kept] == ["x"]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_models_are_listed_by_the_service(server, way):
    """The key's own list, and the public catalogue without a key."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)
    lists = [
        model.list_models(public=public) if way == "sync" else asyncio.run(model.alist_models(public=public))
        for public in (False, True)
    ]
    assert all("gpt-oss-120b" in {row["id"] for row in rows} for rows in lists)
    own, public = server.requests
    assert (own.path, own.bearer) == ("/v1/models", server.key)
    assert (public.path, public.bearer) == ("/public/v1/models", None)


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_an_answer_carries_its_estimated_cost(server, way):
    """Among the figures of its call."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)
    message = model.invoke("hello") if way == "invoke" else list(model.stream("hello"))[-1]
    usage = message.usage_metadata
    price = (usage["input_tokens"] * 0.35 + usage["output_tokens"] * 0.75) / 1e6
    assert message.response_metadata["calls"][0]["estimated_cost_usd"] == pytest.approx(price)
