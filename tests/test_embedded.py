"""The main job on the embedded model: one prompt, one text, whoever asks and however."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
import threading

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_cerebras_demo import ChatCerebrasDemo, LocalServer
from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.provider import Cerebras
from tests.support.blocking import watching

pytestmark = pytest.mark.xdist_group("embedded")

PROMPT = "Name three colours."
TOKENS = 16


@pytest.fixture(scope="module")
def model():
    return ChatCerebrasDemo(base_url="local", temperature=0, max_tokens=TOKENS)


@pytest.fixture(scope="module")
def text(model):
    """What `invoke` says: all others have to say the same."""
    answer = model.invoke(PROMPT)
    assert answer.response_metadata["model_provider"] == "local"
    assert answer.response_metadata["model_name"] == "smollm2-135m"
    assert answer.usage_metadata["output_tokens"] == TOKENS
    return answer.content


async def streamed(model):
    return "".join([chunk.content async for chunk in model.astream(PROMPT)])


async def test_the_embedded_model_does_not_block_the_loop(model):
    """Its server is started and found in a thread."""
    with watching():
        assert (await model.ainvoke(PROMPT)).content


async def inside_a_running_loop(model):
    """As in a notebook: the synchronous calls, while this loop runs."""
    return model.invoke(PROMPT).content, "".join(chunk.content for chunk in model.stream(PROMPT))


WAYS = {
    "stream": lambda model: "".join(chunk.content for chunk in model.stream(PROMPT)),
    "ainvoke": lambda model: asyncio.run(model.ainvoke(PROMPT)).content,
    "astream": lambda model: asyncio.run(streamed(model)),
    "batch": lambda model: model.batch([PROMPT, PROMPT])[1].content,
    "abatch": lambda model: asyncio.run(model.abatch([PROMPT, PROMPT]))[1].content,
    "three loops in a row": lambda model: [asyncio.run(streamed(model)) for _ in range(3)][2],
    "invoke inside a running loop": lambda model: asyncio.run(inside_a_running_loop(model))[0],
    "stream inside a running loop": lambda model: asyncio.run(inside_a_running_loop(model))[1],
    "an unpickled model": lambda model: pickle.loads(pickle.dumps(model)).invoke(PROMPT).content,
    "a deep copy": lambda model: copy.deepcopy(model).invoke(PROMPT).content,
    "a chain": lambda model: (ChatPromptTemplate.from_template("{question}") | model | StrOutputParser()).invoke(
        {"question": PROMPT}
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_calling_gives_the_same_text(model, text, way):
    """At temperature 0 the embedded model is deterministic."""
    assert WAYS[way](model) == text


def test_eight_threads_with_a_loop_each_get_the_same_text(model, text):
    """`asyncio.run` in eight threads at once, one model."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(asyncio.run(streamed(model)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [text] * 8


async def test_tokens_come_one_by_one(model, text):
    """Many chunks, not one; those that a busy machine reads at once are left apart."""
    chunks = [chunk.content async for chunk in model.model_copy(update={"coalesce": False}).astream(PROMPT)]
    assert len(chunks) > 10
    assert "".join(chunks) == text


def test_a_record_names_the_embedded_model(model):
    """Not the one that was asked for: no metric mistakes it for Cerebras."""
    records = []
    model.model_copy(update={"on_call": records.append}).invoke(PROMPT)
    assert [record.model for record in records] == ["smollm2-135m"]


async def test_the_provider_answers_too(text):
    """Without LangChain."""
    pieces = Cerebras.create_async_generator(
        "", [{"role": "user", "content": PROMPT}], api_base="local", temperature=0, max_tokens=TOKENS
    )
    assert "".join([piece async for piece in pieces]) == text


def test_a_server_of_ones_own_is_known_by_its_address(text):
    """Key and dialect are found by the base_url."""
    with LocalServer() as server:
        model = ChatCerebrasDemo(base_url=server.base_url, temperature=0, max_tokens=TOKENS)
        answer = model.invoke(PROMPT)
    assert answer.content == text
    assert answer.response_metadata["model_provider"] == "local"


TOOL = {"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ([IMAGE], {}, "reads text only"),
        (
            "hi",
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "b"}}},
            "tool_choice names 'b'",
        ),
    ],
    ids=["image", "tool choice"],
)
async def test_what_the_embedded_model_cannot_do_is_refused_before_it_is_sent(model, content, arguments, words):
    """By the chat model and the provider alike."""
    with pytest.raises(InvalidRequestError, match=words):
        await model.ainvoke([HumanMessage(content)], **arguments)
    messages = [{"role": "user", "content": content}]
    with pytest.raises(InvalidRequestError, match=words):
        await anext(Cerebras.create_async_generator("", messages, api_base="local", **arguments))


def test_a_forced_tool_call_is_a_tool_call(model):
    """By invoke and by stream: name, parsed arguments, id."""
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    }
    tool = {
        "type": "function",
        "function": {"name": "add", "description": "Adds two numbers.", "parameters": parameters},
    }
    roomy = model.model_copy(update={"max_tokens": 100})
    whole = roomy.invoke("Add 2 and 3.", tools=[tool], tool_choice="required")
    merged = None
    for chunk in roomy.stream("Add 2 and 3.", tools=[tool], tool_choice="required"):
        merged = chunk if merged is None else merged + chunk
    for message in (whole, merged):
        (call,) = message.tool_calls
        assert call["name"] == "add"
        assert set(call["args"]) == {"a", "b"}
        assert call["id"]
    assert whole.tool_calls[0]["args"] == merged.tool_calls[0]["args"]


SCRIPT = """
import asyncio, logging, os, sys
logging.getLogger("asyncio").setLevel(logging.ERROR)  # its debug mode remarks every slow step of a busy machine
from langchain_cerebras_demo import ChatCerebrasDemo

model = ChatCerebrasDemo(base_url="local", temperature=0, max_tokens=8)
prompt = "Name three colours."
text = model.invoke(prompt).content
assert "".join(chunk.content for chunk in model.stream(prompt)) == text
async def ask():
    return "".join([chunk.content async for chunk in model.astream(prompt)])
for _ in range(2):
    assert asyncio.run(ask()) == text
if "fork" in sys.argv:
    child = os.fork()
    assert model.invoke(prompt).content == text
    if child == 0:
        sys.exit(0) if "sys.exit" in sys.argv else os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
if "open" in sys.argv:
    stream = model.stream(prompt)
    next(stream)
print("done")
"""


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], marks=pytest.mark.long),
        ["open"],
        ["fork", "sys.exit"],
        pytest.param(["fork", "os._exit"], marks=pytest.mark.long),
    ],
    ids=" ".join,
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_script_ends_in_silence(arguments):
    """Also with a stream left open, and in a forked child: no warning, no noise, exit code 0."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [*command, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
