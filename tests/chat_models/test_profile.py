"""Profile, token estimates, model lists."""

from __future__ import annotations

import asyncio
import copy
import pickle

import pytest
from langchain_core.messages import HumanMessage, trim_messages
from langchain_core.runnables import ConfigurableField

from langchain_cerebras_demo import ChatCerebrasDemo, StaticKey
from langchain_cerebras_demo.chat_models.profile import cautious_profile
from langchain_cerebras_demo.testing import Gate, LoopbackCerebras
from langchain_cerebras_demo.testing.models import LoopbackModel


def test_the_profile_comes_from_the_catalogue():
    """By id or alias; the smallest window of all tiers, since a key does not tell its tier."""
    for name in ("gpt-oss-120b", "gpt-oss"):
        profile = ChatCerebrasDemo(model=name).profile
        assert (profile["max_input_tokens"], profile["max_output_tokens"]) == (65_536, 32_768)
        assert profile["tool_calling"]
        assert profile["reasoning_output"]
        assert not profile["image_inputs"]
        assert not profile["image_tool_message"]
    reader = ChatCerebrasDemo(model="qwen-3.8").profile
    assert reader["image_inputs"]
    assert reader["image_tool_message"]  # it is sent in a user message after the results


@pytest.mark.parametrize(
    ("tier", "limits"), [(None, (65_536, 32_768)), ("trial", (65_536, 32_768)), ("paid", (131_000, 40_000))]
)
def test_the_tier_selects_the_limits_of_the_profile(tier, limits):
    """Where the row has both; a later change counts as well."""
    for model in (ChatCerebrasDemo(tier=tier), ChatCerebrasDemo().model_copy(update={"tier": tier})):
        assert (model.profile["max_input_tokens"], model.profile["max_output_tokens"]) == limits
    assert "max_input_tokens" not in ChatCerebrasDemo(model="kimi-k2.7-code", tier=tier).profile
    changed = ChatCerebrasDemo(model="llama3.1-70b")
    changed.tier = tier
    assert changed.profile["max_input_tokens"] == 8_192  # the only figure that is known


@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_public_list_refreshes_the_catalogue_and_the_profile(way):
    """The loopback's list gives 131,072 and 40,960 for a model that the rows know nothing of."""
    with LoopbackCerebras(models=[LoopbackModel("brand-new")]) as other:
        model = ChatCerebrasDemo(base_url=other.base_url, model="brand-new", tier="paid")
        assert (model.profile["max_input_tokens"], model.profile["max_output_tokens"]) == (65_536, 32_768)
        model.refresh_catalog() if way == "sync" else asyncio.run(model.arefresh_catalog())
        assert (model.profile["max_input_tokens"], model.profile["max_output_tokens"]) == (131_072, 40_960)
        assert [request.bearer for request in other.requests] == [None]


def test_an_unknown_model_has_a_cautious_profile_and_the_log_says_so_once(caplog):
    """The smallest limits of today's models and no images; what is not known of it is left out."""
    for _ in range(2):
        profile = ChatCerebrasDemo(model="a-new-endpoint", tier="paid").profile
        assert (profile["name"], profile["max_input_tokens"], profile["max_output_tokens"]) == (
            "a-new-endpoint",
            65_536,
            32_768,
        )
        assert (profile["text_inputs"], profile["image_inputs"], profile["image_tool_message"]) == (True, False, False)
        assert profile["text_outputs"]
        assert not profile.keys() & {"tool_calling", "reasoning_output"}
        assert not profile["structured_output"]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "does not know the model 'a-new-endpoint'" in record.getMessage()
    assert "65536" in record.getMessage()


def test_the_log_suggests_the_nearest_known_model(caplog):
    """For a typo."""
    ChatCerebrasDemo(model="gpt-oss-120")
    assert "does not know the model 'gpt-oss-120' (did you mean 'gpt-oss-120b'?)" in caplog.records[0].getMessage()


def test_a_profile_of_ones_own_wins_and_the_embedded_model_has_none(caplog):
    """Nothing is logged about a model whose profile was given."""
    mine = {"max_input_tokens": 5}
    assert ChatCerebrasDemo(model="another-endpoint", profile=mine).profile == mine
    assert not ChatCerebrasDemo(base_url="local").profile
    assert caplog.records == []


def test_without_models_of_today_a_cautious_profile_has_no_limits():
    """Nothing is invented."""
    assert not cautious_profile("x", []).keys() & {"max_input_tokens", "max_output_tokens"}


def by_configuration(model, name):
    return model.configurable_fields(model=ConfigurableField("model")).with_config(configurable={"model": name})


def by_preparing(model, name):
    return by_configuration(model, name).prepare()[0]


def by_assignment(model, name):
    changed = copy.copy(model)
    changed.model = name
    return changed


CHANGES = {
    "configured": by_configuration,
    "configured and prepared": by_preparing,
    "assigned": by_assignment,
    "copied": lambda model, name: model.model_copy(update={"model": name}),
    "copied deeply": lambda model, name: model.model_copy(update={"model": name}, deep=True),
    "copied by a copy": lambda model, name: copy.deepcopy(pickle.loads(pickle.dumps(model))).model_copy(
        update={"model": name}
    ),
    "bound": lambda model, name: model.bind(model=name),
    "bound with tools": lambda model, name: model.bind_tools([len], model=name),
    "made of the fields": lambda model, name: ChatCerebrasDemo(**{**model.__dict__, "model": name}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["gemma-4-31b", "qwen-3.8", "an-endpoint-of-our-own"])
def test_the_profile_follows_the_model(change, name):
    """However it is changed; a profile that the user gave stays, and so does that of the model before."""
    model = ChatCerebrasDemo(api_key="x")
    assert CHANGES[change](model, name).profile == ChatCerebrasDemo(model=name).profile
    assert model.profile == ChatCerebrasDemo().profile
    mine = {"max_input_tokens": 5}
    assert CHANGES[change](ChatCerebrasDemo(api_key="x", profile=mine), name).profile == mine


def test_the_profile_follows_aliases_and_address():
    """What else decides which model answers."""
    model = ChatCerebrasDemo(model="mine")
    assert model.profile["name"] == "mine"
    model.aliases = {"mine": "gemma-4-31b"}
    assert model.profile == ChatCerebrasDemo(model="gemma-4-31b").profile
    assert model.model_copy(update={"base_url": "local"}).profile is None
    assert model.model_copy(update={"model": "gpt-oss-120b", "profile": {"name": "x"}}).profile == {"name": "x"}


def test_the_profile_follows_the_choice_between_models():
    """configurable_alternatives, of a configurable model too; models and functions that make them."""
    which = ConfigurableField("which")
    others = {"qwen": ChatCerebrasDemo(model="qwen-3.8"), "gemma": lambda: ChatCerebrasDemo(model="gemma-4")}
    model = ChatCerebrasDemo(api_key="x")
    plain = model.configurable_alternatives(which, default_key="mine", **others)
    configurable = model.configurable_fields(model=ConfigurableField("model"))
    nested = configurable.configurable_alternatives(which, default_key="mine", **others)
    for made in (plain, nested):
        assert made.profile["name"] == "gpt-oss-120b"
        assert made.with_config(configurable={"which": "qwen"}).profile["name"] == "qwen-3.8-27b"
        assert made.with_config(configurable={"which": "gemma"}).profile["name"] == "gemma-4-31b"
    assert nested.with_config(configurable={"model": "zai-glm-4.7"}).profile["name"] == "zai-glm-4.7"
    assert plain.lc_id() == ["langchain", "schema", "runnable", "RunnableConfigurableAlternatives"]


COPIES = {
    "a copy": copy.copy,
    "a deep copy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(update={"temperature": 0.5, "timeout": 5}),
    "a deep model_copy": lambda model: model.model_copy(update={"model": "qwen-3.8"}, deep=True),
    "bound": lambda model: model.bind(model="qwen-3.8").bound,
    "bound with tools": lambda model: model.bind_tools([len]).bound,
    "configured": lambda model: by_preparing(model, "qwen-3.8"),
    "configured twice": lambda model: by_preparing(model.model_copy(), "qwen-3.8"),
    "chosen": lambda model: (
        model.configurable_fields(temperature=ConfigurableField("warmth"))
        .configurable_alternatives(ConfigurableField("which"), other=model)
        .with_config(configurable={"warmth": 0.5})
        .prepare()[0]
    ),
}


def slots_of(model):
    return model._client()._settings.slots


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("fields", [{"api_key": "csk-0123456789"}, {"key_resolver": StaticKey("csk-0123456789")}, {}])
def test_copies_with_the_same_key_and_address_share_max_concurrency(kind, fields):
    """Whichever is asked first. Other bounds, keys and addresses have slots of their own, and so has a pickle."""
    model = ChatCerebrasDemo(max_concurrency=1000, **fields)
    copied = COPIES[kind](model)
    assert slots_of(copied) is slots_of(model)
    for change in (
        {"max_concurrency": 3},
        {"api_key": "csk-another-key"},
        {"base_url": "https://elsewhere.invalid/v1"},
    ):
        assert slots_of(copied.model_copy(update=change)) is not slots_of(model)
    assert slots_of(pickle.loads(pickle.dumps(copied))) is not slots_of(model)
    assert slots_of(ChatCerebrasDemo(max_concurrency=1000, **fields)) is not slots_of(model)


def test_copies_run_no_more_requests_at_once_than_the_model(server):
    """Two of eight, over four copies; all are answered."""
    gates = [Gate(), Gate()]
    server.script(*gates)
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, max_concurrency=2)
    copies = [model, model.model_copy(), by_configuration(model, "qwen-3.8-27b"), model.bind(temperature=0.5)]

    async def ask():
        tasks = [asyncio.create_task(copied.ainvoke("hi")) for copied in copies * 2]
        for gate in gates:
            assert await asyncio.to_thread(gate.wait_reached, 5)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(server.requests) == 2
        for gate in gates:
            gate.open()
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(ask())) == 8


def test_a_bound_model_shares_its_client(server):
    """So that max_concurrency counts the requests of both; the bound id goes out."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)
    bound = model.bind(model="qwen-3.8-27b")
    assert bound.bound._client() is model._client()
    bound.invoke("hello")
    model.invoke("hello")
    assert [request.json["model"] for request in server.requests] == ["qwen-3.8-27b", "gpt-oss-120b"]


def test_a_configurable_model_is_dumped_as_langchains_own():
    """`loads` knows no other."""
    made = ChatCerebrasDemo(api_key="x").configurable_fields(model=ConfigurableField("model"))
    assert made.lc_id() == ["langchain", "schema", "runnable", "RunnableConfigurableFields"]
    assert made.with_config(configurable={"model": "qwen-3.8"}).profile["image_inputs"]


def test_tokens_are_estimated_without_a_tokenizer():
    """Text, messages, tools and images all count; no network, no extra package."""
    model = ChatCerebrasDemo()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    plain = model.get_num_tokens_from_messages([HumanMessage("hello")])
    assert model.get_num_tokens("x" * 350) == 100
    assert model.get_num_tokens_from_messages([HumanMessage(["hello", image])]) >= plain + 280
    qwen = ChatCerebrasDemo(model="qwen-3.8-27b")
    assert qwen.get_num_tokens_from_messages([HumanMessage(["hello", image])]) >= plain + 2_304
    assert model.get_num_tokens_from_messages([HumanMessage("hello")], tools=[len]) > plain


def test_other_scripts_count_by_what_they_are():
    """A Chinese character is about a token, not a quarter of one."""
    model, text = ChatCerebrasDemo(), "东京都的人口" * 100
    assert model.get_num_tokens(text) == 600
    assert 600 <= model.get_num_tokens_from_messages([HumanMessage(text)]) <= 610
    assert model.get_num_tokens("") == 0
    assert model.get_num_tokens_from_messages([]) == 0


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
