"""The program ``llm`` with our models: against the loopback and on the embedded model, its logs and keys in a folder of the test's own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from langchain_cerebras_demo import local
from langchain_cerebras_demo.errors import StreamInterruptedError
from langchain_cerebras_demo.testing import CutAfter, Reply, ScriptedCall, Status
from langchain_cerebras_demo.wire.request import PARAMETERS
from tests.support.processes import environment

llm = pytest.importorskip("llm", reason="llm is not installed: pip install --group test")

import sqlite_utils  # noqa: E402 - llm's own
from click.testing import CliRunner  # noqa: E402 - llm's own, which brings it
from llm.cli import cli  # noqa: E402 - as above
from llm.migrations import migrate  # noqa: E402 - as above
from llm.plugins import pm  # noqa: E402 - as above

from langchain_cerebras_demo.plugins import llm as plugin  # noqa: E402 - as above

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and so on"
PERSON = "name, age int"

if not pm.is_registered(plugin):  # the package is not installed, or was before it had this entry point
    pm.register(plugin, name="cerebras")


@pytest.fixture(scope="module")
def empty_logs(tmp_path_factory):
    """A database without rows: llm makes one in a second."""
    file = tmp_path_factory.mktemp("llm") / "logs.db"
    with contextlib.closing(sqlite3.connect(file)) as opened:
        migrate(sqlite_utils.Database(opened))
    return file


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, empty_logs):
    """A folder for keys and logs, without any, and no key and no address of the machine's user."""
    (tmp_path / "llm").mkdir()
    shutil.copy(empty_logs, tmp_path / "llm")
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    for name in ("CEREBRAS_API_KEY", "CEREBRAS_DEMO_MODEL", "LLM_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CEREBRAS_BASE_URL", "https://api.cerebras.ai/v1")
    return tmp_path / "llm"


@pytest.fixture
def run(server, monkeypatch):
    """Run the program, with the loopback behind the variable that a user would set and its key in llm's own store."""
    monkeypatch.setenv("CEREBRAS_BASE_URL", server.base_url)

    def run(*arguments, stdin=None, code=0):
        done = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)
        assert done.exit_code == code, done.output
        return done

    run("keys", "set", "cerebras", "--value", server.key)
    return run


def last_log(run):
    return json.loads(run("logs", "-n", "1", "--json").stdout)[0]


# -- models, options, keys


def test_the_models_are_those_that_are_served_and_the_embedded_one(run):
    """With a prefix, so that no other plug-in's model has the same name."""
    listed = run("models").stdout
    assert "cerebras/gpt-oss-120b (aliases: cerebras/gpt-oss, cerebras)" in listed
    assert re.search(rf": {local.LOCAL_MODEL}$", listed, re.MULTILINE)
    assert "llama" not in listed
    assert plugin.LOCAL_MODEL == local.LOCAL_MODEL
    shown = run("models", "-m", "cerebras", "--options").stdout
    for words in ("temperature: float", "Randomness of the answer", "- streaming", "- schemas", "- tools", "- async", "key: cerebras", "env_var: CEREBRAS_API_KEY"):  # fmt: skip
        assert words in shown


def test_a_variable_names_the_default_model_which_the_catalogue_need_not_know(run, server, monkeypatch):
    """A dedicated endpoint's."""
    monkeypatch.setenv("CEREBRAS_DEMO_MODEL", "gpt-oss-120b-mine")
    run("-m", "cerebras", "Hi", code=1)  # the loopback has no such model
    assert server.requests[0].json["model"] == "gpt-oss-120b-mine"


def test_every_parameter_is_an_option_but_those_that_have_no_place():
    """A new parameter is noticed here."""
    without = {"tools", "n", "logprobs", "top_logprobs", "stream_options"}  # llm's own, or nowhere in its answers
    assert set(plugin.Options.model_fields) == PARAMETERS.keys() - without


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["temperature", "0.5"], {"temperature": 0.5}),
        (["max_tokens", "7"], {"max_completion_tokens": 7}),
        (["stop", "5"], {"stop": "5"}),
        (["stop", '["a", "b"]'], {"stop": ["a", "b"]}),
        (["logit_bias", '{"5": 1}'], {"logit_bias": {"5": 1}}),
        (["reasoning_effort", "low"], {"reasoning_effort": "low"}),
    ],
)
def test_options_are_sent(given, sent):
    """Lists and objects as JSON; text needs no quotes."""
    request = request_of(options=plugin.Options(**{given[0]: given[1]}))
    body = request.to_body(stream=True)
    assert {name: body[name] for name in sent} == sent


def request_of(**given):
    model = llm.get_model("cerebras")
    return model._request(llm.Prompt("hi", model, **given))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["temprature", "1"], "unknown option 'temprature'; did you mean 'temperature'?"),
        (["xyzzy", "1"], "unknown option 'xyzzy'; known are temperature, max_tokens"),
        (["temperature", "hot"], "temperature='hot' is not valid: give a number from 0 to 2"),
        (["top_p", "NaN"], "top_p=nan is not valid"),
    ],
)
def test_an_invalid_option_is_named_and_nothing_is_sent(run, server, option, words):
    """With the words of the chat model's constructor."""
    assert words in run("-m", "cerebras", "hi", "-o", *option, code=1).output
    assert server.requests == []


def test_without_a_key_it_says_what_to_do_unless_the_address_is_on_this_machine(run, server, folder, monkeypatch):
    """The environment comes after llm's store, as for all its models."""
    (folder / "keys.json").unlink()
    run("-m", "cerebras", "hi", code=1)  # the loopback refuses: no key was sent
    assert "authorization" not in {name.lower() for name in dict(server.requests[0].headers)}
    monkeypatch.setenv("CEREBRAS_API_KEY", server.key)
    run("-m", "cerebras", "hi")
    monkeypatch.delenv("CEREBRAS_API_KEY")
    monkeypatch.setenv("CEREBRAS_BASE_URL", "https://api.cerebras.ai/v1")
    said = run("-m", "cerebras", "hi", code=1).output
    assert "llm keys set cerebras" in said
    assert "CEREBRAS_API_KEY" in said


def test_a_refused_key_is_named_by_its_error_and_never_shown(run, server):
    """Given with --key."""
    said = run("-m", "cerebras", "hi", "--key", "csk-wrong-0123456789", code=1).output
    assert said.startswith("Error: 401")
    assert ". Set another: llm keys set cerebras, or CEREBRAS_API_KEY" in said
    assert "csk-wrong" not in said


# -- answers


@pytest.mark.parametrize("stream", [[], ["--no-stream"]])
def test_an_answer_its_reasoning_and_its_figures(run, server, stream):
    """The answer on stdout, the reasoning on stderr, and both with the figures of the call in the logs."""
    server.script(Reply(text="Four.", reasoning="Two and two."))
    done = run("-m", "cerebras/gpt-oss", "2 + 2?", "-s", "Be brief.", *stream)
    assert (done.stdout, done.stderr.strip()) == ("Four.\n", "" if stream else "Two and two.")
    sent = server.requests[0].json
    assert sent.get("stream", False) == (not stream)
    assert [(message["role"], message["content"]) for message in sent["messages"]] == [
        ("system", "Be brief."),
        ("user", "2 + 2?"),
    ]
    logged = last_log(run)
    assert (logged["response"], logged["reasoning"], logged["resolved_model"]) == (
        "Four.",
        "Two and two.",
        "gpt-oss-120b",
    )
    figures = logged["response_json"]
    usage = figures["usage"]
    assert (logged["input_tokens"], logged["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert json.loads(logged["token_details"])["reasoning_tokens"] == usage["reasoning_tokens"]
    assert (figures["finish_reason"], figures["attempts"]) == ("stop", 1)
    assert figures["time_info"]["total_time"] >= 0
    assert figures["seconds"] > 0
    assert ("ttft" in figures) == (not stream)
    assert figures["estimated_cost_usd"] > 0


def test_a_conversation_continues_with_its_reasoning(run, server):
    """`llm -c`, from the logs: as the model expects it, and not that of another vendor's model."""
    server.script(Reply(text="Four.", reasoning="Two and two."), Reply(text="Yes."))
    run("-m", "cerebras", "2 + 2?")
    assert run("-c", "Sure?").stdout == "Yes.\n"
    assert server.requests[1].json["messages"] == [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "Four.", "reasoning": "Two and two."},
        {"role": "user", "content": "Sure?"},
    ]
    other = llm.parts.Message("assistant", [llm.parts.ReasoningPart("mine"), llm.parts.TextPart("Four.")])
    assert plugin.to_wires(other, "reasoning") == [{"role": "assistant", "content": "Four."}]
    ours = llm.parts.ReasoningPart("hm", provider_metadata={"cerebras": {}})
    assert plugin.to_wires(llm.parts.Message("assistant", [ours, llm.parts.TextPart("4")]), "think_tags") == [
        {"role": "assistant", "content": "<think>hm</think>4"}
    ]


def test_reasoning_that_is_sent_as_think_tags_is_kept_by_the_service():
    """With ``clear_thinking``, as the chat model does it; otherwise the service drops it."""
    model = plugin.CerebrasModel("cerebras/zai-glm-4.7", "zai-glm-4.7")
    turns = [llm.parts.Message(role, [llm.parts.TextPart("a")]) for role in ("user", "assistant", "user")]
    asked = llm.Prompt("", model, messages=turns, options=plugin.Options())
    assert model._request(asked).parameters == {"clear_thinking": False}


def test_a_schema_is_sent_in_strict_mode_if_that_supports_it(run, server):
    """Otherwise as it is."""
    server.script(Reply(text='{"name": "Ann", "age": 3}'))
    assert json.loads(run("-m", "cerebras", "Invent a person", "--schema", PERSON).stdout) == {"name": "Ann", "age": 3}
    sent = server.requests[0].json["response_format"]["json_schema"]
    assert (sent["strict"], sorted(sent["schema"]["properties"])) == (True, ["age", "name"])
    loose = plugin.to_response_format({"type": "object", "properties": {"a": {}}})["json_schema"]
    assert (loose["strict"], loose["schema"]["properties"]) == (False, {"a": {}})


def test_tools_run_until_the_model_answers(run, server):
    """`-T`: the calls, their results and the ids that join them."""
    calls = [ScriptedCall("llm_version", {}, id="c1"), ScriptedCall("llm_time", {}, id="c2")]
    server.script(Reply(tool_calls=calls), Reply(text="That one."))
    done = run("-m", "cerebras", "Which version?", "-T", "llm_version", "-T", "llm_time")
    assert done.stdout.strip() == "That one."
    first, second = (request.json for request in server.requests)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["llm_version", "llm_time"]
    assert [call["id"] for call in second["messages"][1]["tool_calls"]] == ["c1", "c2"]
    results = second["messages"][2:]
    assert [(message["role"], message["tool_call_id"]) for message in results] == [("tool", "c1"), ("tool", "c2")]
    assert results[0]["content"].startswith("0.")


WRAPPED = {
    "a list": ({"type": "array", "items": {"type": "integer"}}, '{"value":[1, 2]}', "[1, 2]\n"),
    "a text": ({"type": "string"}, '{ "value": "größer" }', '"größer"\n'),
    "a list without a wrapper": ({"type": "array", "items": {"type": "integer"}}, "[1]", "[1]\n"),
    "an object": (
        {"type": "object", "properties": {"value": {"type": "integer"}}},
        '{"value":1}',
        '{"value":1}\n',
    ),
    "not JSON": ({"type": "string"}, "I cannot say.", "I cannot say.\n"),
}


@pytest.mark.parametrize("options", [(), ("--no-stream",)], ids=["stream", "whole"])
@pytest.mark.parametrize("case", WRAPPED)
def test_a_schema_that_is_not_of_an_object_gives_the_value_alone(run, server, case, options):
    """Without the object in which it was sent, in the output and in the logs."""
    schema, answer, printed = WRAPPED[case]
    server.script(Reply(text=answer))
    assert run("-m", "cerebras", "hi", "--schema", json.dumps(schema), *options).stdout == printed
    assert last_log(run)["response"] == printed.removesuffix("\n")


async def test_an_async_model_gives_the_value_alone_too(run, server):
    """Of a schema that is not of an object."""
    server.script(Reply(text='{"value":[1]}'))
    response = llm.get_async_model("cerebras").prompt("hi", schema=WRAPPED["a list"][0])
    assert await response.text() == "[1]"


def test_a_call_that_is_not_json_is_an_error(run, server):
    """No tool runs with arguments that were made up."""
    server.script(Reply(tool_calls=[ScriptedCall("llm_version", '{"a"', id="c1")]))
    said = run("-m", "cerebras", "Which version?", "-T", "llm_version", code=1).output
    assert "the model called 'llm_version', but the arguments are not valid JSON" in said


def test_images_go_along_as_data(run, server, tmp_path):
    """If the model reads them; another kind of file is refused by llm itself."""
    (tmp_path / "a.png").write_bytes(PNG)
    run("-m", "cerebras/qwen-3.8", "What is it?", "-a", tmp_path / "a.png")
    text, image = server.requests[0].json["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert image["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    refused = run("-m", "cerebras", "What is it?", "-a", tmp_path / "a.png", code=1)
    assert "does not support attachments" in str(refused.output) + str(refused.exception)


ATTACHED = {
    "an image": (
        llm.Attachment(content=PNG),
        "[The image is in the next message.]",
        "[An image was left out here: this model reads text only.]",
    ),
    "an image of another type": (
        llm.Attachment(type="image/gif", content=b"GIF89a"),
        "[An image was left out here: the API accepts base64 PNG or JPEG data only.]",
        "[An image was left out here: this model reads text only.]",
    ),
    "another file": (
        llm.Attachment(type="application/pdf", content=b"%PDF-1.7"),
        *["[A block of type 'file' was left out here: the API accepts text only.]"] * 2,
    ),
}


@pytest.mark.parametrize("case", ATTACHED)
@pytest.mark.parametrize("model", ["cerebras/qwen-3.8", "cerebras/gpt-oss", local.LOCAL_MODEL])
def test_an_image_in_a_tools_result_is_sent_if_the_model_reads_images(case, model):
    """Otherwise a note says what was left out, as in the chat model, and the conversation goes on."""
    attachment, read, left_out = ATTACHED[case]
    reads = model == "cerebras/qwen-3.8"
    call = llm.parts.ToolCallPart("look", {}, tool_call_id="c1")
    part = llm.parts.ToolResultPart("look", "here", tool_call_id="c1", attachments=[attachment])
    messages = [llm.parts.Message("assistant", [call]), llm.parts.Message("tool", [part])]
    chosen = llm.get_model(model)
    _, result, *images = chosen._request(llm.Prompt(None, chosen, messages=messages)).messages
    assert result == {"role": "tool", "tool_call_id": "c1", "content": f"here{read if reads else left_out}"}
    shown = {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
    wanted = [{"role": "user", "content": [{"type": "image_url", "image_url": shown}]}]
    assert images == (wanted if reads and case == "an image" else [])


@pytest.mark.parametrize(
    ("model", "note"),
    [
        ("gpt-oss-120b", "[An image was left out here: this model reads text only.]"),
        ("qwen-3.8-27b", "[The image is in the next message.]"),
    ],
)
def test_a_chain_goes_on_after_a_tool_has_returned_an_image(server, run, model, note):
    """Although llm puts the image into a user message, which a model that reads text only does not get."""

    def look():
        return llm.ToolOutput("a chart", attachments=[llm.Attachment(content=PNG)])

    server.script(Reply(tool_calls=[ScriptedCall("look", {}, id="c1")]), Reply(text="It rises."))
    assert llm.get_model(f"cerebras/{model}").chain("What is on it?", tools=[look]).text() == "It rises."
    _, _, result, *others = server.requests[1].json["messages"]
    assert result == {"role": "tool", "tool_call_id": "c1", "content": f"a chart{note}"}
    assert [message["content"][0]["type"] for message in others] == (["image_url"] if model == "qwen-3.8-27b" else [])


def test_chat_keeps_the_conversation(run, server):
    """`llm chat`."""
    server.script(Reply(text="Hello Ann."), Reply(text="Ann."))
    said = run("chat", "-m", "cerebras", stdin="I am Ann\nWho am I?\nexit\n").stdout
    assert "Hello Ann." in said
    assert [message["content"] for message in server.requests[1].json["messages"]] == [
        "I am Ann",
        "Hello Ann.",
        "Who am I?",
    ]


def test_a_stream_that_is_cut_off_is_an_error_behind_what_came(run, server):
    """Nothing passes for a whole answer."""
    server.script(CutAfter(events=3, reply=Reply(text="one two three four five six seven eight")))
    done = run("-m", "cerebras", "hi", code=1)
    assert done.stdout.startswith("one two")
    assert "Error: " in done.stderr


async def test_async_models_stream_over_the_same_client(run, server):
    """For programs: text, reasoning, tools and figures as from the synchronous one."""
    model = llm.get_async_model("cerebras")
    server.script(Reply(text="one two", reasoning="hm"), Reply(text="whole"), Reply(tool_calls=[ScriptedCall("f", {"x": 1}, id="c1")]), Status(402), CutAfter(events=3, reply=Reply(text="one two three four five")))  # fmt: skip
    response = model.prompt("hi")
    assert "".join([text async for text in response]) == "one two"
    assert (response.response_json["finish_reason"], (await response.usage()).output > 0) == ("stop", True)
    assert await model.prompt("hi", stream=False).text() == "whole"

    def f(x: int) -> int:
        """Double a number."""
        return 2 * x

    (call,) = await model.prompt("hi", tools=[f]).tool_calls()
    assert (call.name, call.arguments, call.tool_call_id) == ("f", {"x": 1}, "c1")
    assert server.requests[2].json["tools"][0]["function"]["parameters"]["required"] == ["x"]
    with pytest.raises(Exception, match="402"):
        await model.prompt("hi").text()
    with pytest.raises(StreamInterruptedError) as ended:
        await model.prompt("hi").text()
    assert ended.value.partial


@pytest.mark.xdist_group("embedded")
def test_the_embedded_model_answers(run, folder):
    """Without a key: text, a schema, a conversation, figures; its id says what it is."""
    pytest.importorskip("xllamacpp")
    (folder / "keys.json").unlink()
    assert run("-m", local.LOCAL_MODEL, "Say hi.", "-o", "max_tokens", "8", "-o", "temperature", "0").stdout.strip()
    assert run("-c", "Again.", "-o", "max_tokens", "8").stdout.strip()
    assert last_log(run)["resolved_model"] == local.LOCAL_MODEL
    schema = '{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}'
    assert json.loads(run("-m", local.LOCAL_MODEL, "Choose one.", "--schema", schema).stdout)["n"] in {1, 2}
    assert last_log(run)["response_json"]["usage"]["completion_tokens"] > 0


# -- the program as a process of its own


@pytest.fixture
def metadata(tmp_path):
    """What an installed package says of its entry points, from ``pyproject.toml``: an older installation would say less."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    entry = re.search(r"^\[project\.entry-points\.llm\]\n(cerebras = \"([\w.]+)\")$", text, re.MULTILINE)
    place = tmp_path / "site" / "langchain_cerebras_demo-0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: langchain-cerebras-demo\nVersion: 0\n")
    (place / "entry_points.txt").write_text(f"[llm]\ncerebras = {entry[2]}\n")
    assert entry[2] == plugin.__name__
    return place.parent


@pytest.fixture
def variables(server, folder, metadata):
    kept = environment(CEREBRAS_BASE_URL=server.base_url, LLM_USER_PATH=str(folder), TERM="dumb", LLM_RAISE_ERRORS="")
    return {**kept, "PYTHONPATH": os.pathsep.join([kept["PYTHONPATH"], str(metadata)])}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_program_finds_the_plugin_by_its_entry_point(server, variables):
    """Real processes: keys, models, a question with a pipe, its continuation, a schema, a tool, the logs, the embedded model."""

    def run(*arguments, stdin=""):
        command = [sys.executable, "-m", "llm", *arguments]
        done = subprocess.run(command, env=variables, input=stdin, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        assert done.returncode == 0, done
        return done.stdout

    run("keys", "set", "cerebras", "--value", server.key)
    assert "cerebras" in run("keys")
    assert "cerebras/gpt-oss-120b" in run("models")
    assert '"name": "cerebras"' in run("plugins") or "langchain-cerebras-demo" in run("plugins")
    server.script(
        Reply(text="A line."),
        Reply(text="Yes."),
        Reply(text='{"name": "Ann", "age": 3}'),
        Reply(tool_calls=[ScriptedCall("llm_version", {}, id="c1")]),
        Reply(text="That one."),
    )
    assert run("-m", "cerebras", "What is this?", stdin="+ a line\n") == "A line.\n"
    assert "+ a line" in server.requests[0].json["messages"][0]["content"]
    assert run("-c", "Sure?") == "Yes.\n"
    assert json.loads(run("-m", "cerebras", "Who?", "--schema", PERSON))["age"] == 3
    assert run("-m", "cerebras", "Which?", "-T", "llm_version").strip() == "That one."
    assert json.loads(run("logs", "-n", "1", "--json"))[0]["response_json"]["attempts"] == 1
    pytest.importorskip("xllamacpp")
    assert run("-m", local.LOCAL_MODEL, "Say hi.", "-o", "max_tokens", "8").strip()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings(
    "ignore:.*forkpty.*:DeprecationWarning"
)  # pexpect's; Python 3.12 warns of the server's thread
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("columns", [40, 80])
def test_chat_in_a_terminal(server, variables, columns):
    """`llm chat` in a real pseudo-terminal: the words appear, and the conversation is kept."""
    pexpect = pytest.importorskip("pexpect")
    server.script(Reply(text="Hello Ann."), Reply(text="You are Ann."))
    command = ["-m", "llm", "chat", "-m", "cerebras"]
    variables = {**variables, "CEREBRAS_API_KEY": server.key}
    child = pexpect.spawn(sys.executable, command, env=variables, dimensions=(24, columns), encoding="utf-8", timeout=60)  # fmt: skip
    try:
        child.expect_exact("> ")
        child.sendline("I am Ann")
        child.expect_exact("Hello Ann.")
        child.expect_exact("> ")
        child.sendline("Who am I?")
        child.expect_exact("You are Ann.")
        child.expect_exact("> ")
        child.sendline("exit")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    finally:
        child.close(force=True)
    assert len(server.requests[1].json["messages"]) == 3


async def test_an_async_model_prepares_images_outside_of_the_loop(run, server, monkeypatch):
    """llm downloads an image that is given by URL with blocking calls."""
    threads = []

    def download(_attachment):
        threads.append(threading.current_thread())
        return base64.b64encode(PNG).decode()

    monkeypatch.setattr(llm.Attachment, "base64_content", download)
    image = llm.Attachment(type="image/png", url="https://images.invalid/a.png")
    await llm.get_async_model("cerebras/qwen-3.8").prompt("What is it?", attachments=[image]).text()
    assert threads
    assert threading.current_thread() not in threads
    assert server.requests[0].json["messages"][0]["content"][1]["type"] == "image_url"
