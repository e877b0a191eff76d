"""deepagents, the real package, against the loopback: names, files, a sub-agent, summaries, content that a model cannot read."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.testing import LoopbackCerebras, LoopbackModel, Reply, ScriptedCall
from tests.support.processes import environment

deepagents = pytest.importorskip("deepagents", reason="deepagents is not installed: pip install --group deepagents")

ROOT = Path(__file__).parents[2]
WINDOW = 65_536  # of gpt-oss-120b, in the tier of trials

RUNS = {
    "invoke": lambda agent, messages: agent.invoke({"messages": messages}),
    "ainvoke": lambda agent, messages: asyncio.run(agent.ainvoke({"messages": messages})),
}


def agent_for(server, **fields):
    model = ChatCerebrasDemo(**{"base_url": server.base_url, "api_key": server.key, "max_retries": 0, **fields})
    return deepagents.create_deep_agent(model)


def text_of(request):
    return json.dumps(request.json["messages"])


# -- names


@pytest.fixture
def installed(tmp_path):
    """A folder with the metadata of an installed package whose entry points are those of pyproject.toml."""
    groups = re.findall(
        r'^\[project\.entry-points\."?([\w.]+)"?\]\n((?:[\w-]+ = ".*"\n)+)',
        (ROOT / "pyproject.toml").read_text("utf-8"),
        re.MULTILINE,
    )
    folder = tmp_path / "site" / "langchain_cerebras_demo_metadata-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: langchain-cerebras-demo-metadata\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("".join(f"[{name}]\n{rows}".replace('"', "") for name, rows in groups))
    return folder.parent


NAMED = """
import json, sys, warnings
from deepagents import create_deep_agent
from langchain.chat_models import init_chat_model
answer = create_deep_agent("cerebras:gpt-oss-120b").invoke({"messages": "Hello"})["messages"][-1].content
print(json.dumps([answer, type(init_chat_model("cerebras:gpt-oss-120b")).__name__]))
"""

UNUSED = """
import json, sys
from deepagents.profiles.provider.provider_profiles import get_provider_profile
get_provider_profile("openai:gpt-5.4")
import langchain.chat_models.base as table
print(json.dumps([table._BUILTIN_PROVIDERS["cerebras"][:2], "langchain_cerebras_demo.chat_models" in sys.modules]))
"""


def run(code, installed, **variables):
    env = environment(**variables)
    env["PYTHONPATH"] = os.pathsep.join([str(installed), env["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_name_is_enough_where_both_packages_are_installed(installed, server):
    """No line of the program is about us; plain `init_chat_model` knows the name from then on, too."""
    server.script(Reply(text="Hello."))
    variables = {"CEREBRAS_BASE_URL": server.base_url, "CEREBRAS_API_KEY": server.key}
    assert run(NAMED, installed, **variables) == ["Hello.", "ChatCerebrasDemo"]


def test_who_uses_another_provider_does_not_load_the_chat_model(installed):
    """A row in a table is all that it costs."""
    assert run(UNUSED, installed) == [["langchain_cerebras_demo", "ChatCerebrasDemo"], False]


# -- work


@pytest.mark.parametrize("way", RUNS)
def test_an_agent_writes_a_file_and_asks_a_sub_agent_to_read_it(server, way):
    """Its own tool calls and the sub-agent's; the strict server accepts each request."""
    server.script(
        Reply(tool_calls=[ScriptedCall("write_file", {"file_path": "/notes.md", "content": "High at six."}, id="c1")]),
        Reply(
            reasoning="Somebody else should read it.",
            tool_calls=[ScriptedCall("task", {"description": "Read it.", "subagent_type": "general-purpose"}, id="c2")],
        ),
        Reply(tool_calls=[ScriptedCall("read_file", {"file_path": "/notes.md"}, id="c3")]),
        Reply(text="It says: high at six."),
        Reply(text="The tide is high at six."),
    )
    result = RUNS[way](agent_for(server), [HumanMessage("When is high tide?")])
    assert result["files"]["/notes.md"]["content"] == "High at six."
    assert result["messages"][-1].content == "The tide is high at six."
    assert server.unused_steps == 0
    assert "High at six." in server.requests[3].json["messages"][-1]["content"]  # the sub-agent's file
    assert server.requests[4].json["messages"][-1]["content"] == "It says: high at six."


# -- length


def long_conversation(turns=40):
    return [
        message
        for number in range(turns)
        for message in (HumanMessage(f"{number} " + "word " * 1_300), AIMessage("Noted."))
    ]


@pytest.mark.parametrize("way", RUNS)
def test_a_long_conversation_is_summarised_within_the_models_window(way):
    """The profile says how long it may become; no request exceeds it, as the server counts."""
    with LoopbackCerebras(models=[LoopbackModel("gpt-oss-120b", context_window=WINDOW)]) as server:
        server.script(Reply(text="They counted words."), Reply(text="Now you rest."))
        result = RUNS[way](agent_for(server), [*long_conversation(), HumanMessage("And now?")])
        assert result["messages"][-1].content == "Now you rest."
        summary, answer = server.requests
    assert "39 word" not in text_of(summary)  # what is recent is kept as it is
    assert "They counted words." in text_of(answer)
    assert len(text_of(answer)) < len(text_of(summary)) / 4


def test_a_window_smaller_than_the_profile_says_is_found_by_the_servers_refusal():
    """That of a dedicated endpoint, say: the refusal is LangChain's own ContextOverflowError, and deepagents summarises then."""
    with LoopbackCerebras(models=[LoopbackModel("our-endpoint", context_window=32_000)]) as server:
        agent = agent_for(server, model="our-endpoint", rate_limit=None)
        result = agent.invoke({"messages": [*long_conversation(24), HumanMessage("And now?")]})
        assert result["messages"][-1].content
        assert server.requests[0].json["messages"][-1]["content"] == "And now?"
        assert len(server.requests) == 3


# -- content


@pytest.mark.parametrize("model", ["gpt-oss-120b", "our-endpoint"])
def test_an_image_in_a_tools_result_becomes_a_note_if_the_model_reads_no_images(model):
    """The profile says so to deepagents, which names the file."""
    image = {"type": "image", "base64": base64.b64encode(b"\x89PNG").decode(), "mime_type": "image/png"}
    call = {"name": "read_file", "args": {"file_path": "/a.png"}, "id": "c1"}
    history = [
        HumanMessage("What is on it?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage([image], tool_call_id="c1", additional_kwargs={"read_file_path": "/a.png"}),
    ]
    with LoopbackCerebras(models=["gpt-oss-120b", "our-endpoint"]) as server:
        server.script(Reply(text="I cannot tell."))
        agent = agent_for(server, model=model)
        assert agent.invoke({"messages": history})["messages"][-1].content == "I cannot tell."
    assert "/a.png was not attached" in text_of(server.requests[0])
    assert image["base64"] not in text_of(server.requests[0])


def test_an_image_in_a_tools_result_is_sent_to_a_model_that_reads_images(server):
    """In a user message after the results, where the API accepts images."""
    image = {"type": "image", "base64": base64.b64encode(b"\x89PNG").decode(), "mime_type": "image/png"}
    call = {"name": "read_file", "args": {"file_path": "/a.png"}, "id": "c1"}
    history = [
        HumanMessage("What is on it?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage([image], tool_call_id="c1", additional_kwargs={"read_file_path": "/a.png"}),
    ]
    server.script(Reply(text="A cat."))
    result = agent_for(server, model="qwen-3.8-27b").invoke({"messages": history})
    assert result["messages"][-1].content == "A cat."
    sent = server.requests[0].json["messages"][-1]
    assert (sent["role"], image["base64"] in str(sent["content"])) == ("user", True)


@pytest.mark.parametrize("model", ["gpt-oss-120b", "qwen-3.8-27b", "our-endpoint"])
def test_the_profile_denies_what_the_api_has_not(model):
    """Explicitly: deepagents takes what is left out for possible."""
    profile = ChatCerebrasDemo(model=model).profile
    denied = (
        "pdf_tool_message",
        "pdf_inputs",
        "audio_inputs",
        "video_inputs",
        "image_url_inputs",
    )
    assert {name: profile[name] for name in denied} == dict.fromkeys(denied, False)
    assert profile["image_inputs"] is profile["image_tool_message"] is (model == "qwen-3.8-27b")
    assert profile["max_input_tokens"] == WINDOW
