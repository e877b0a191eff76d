"""Streams are drawn in a notebook while they come, printed where there is none, and stopped by the stop button."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
from contextlib import aclosing, closing
from datetime import date

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser

from langchain_cerebras_demo import ChatCerebrasDemo, StreamInterruptedError
from langchain_cerebras_demo.notebook import _Answer, _PlainView, _run_cell, _to_safe_markdown, show
from langchain_cerebras_demo.testing import CutAfter, Gate, Reply, ScriptedCall

in_main_thread = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals are handled in the main thread alone"
)


@pytest.fixture
def llm(server):
    return ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, coalesce=False)


def weather_agent(llm):
    agents = pytest.importorskip("langchain.agents")

    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"18 °C in {city}"

    return agents.create_agent(llm, tools=[get_weather])


# -- where there is no rich display


async def test_a_stream_of_messages_is_printed_and_its_message_returned(llm, server, capsys):
    """The reasoning is not printed; the last line has the tokens, the time to the first and the speed."""
    server.script(*[Reply("They weigh\nthe same.", reasoning="A kilogram is a kilogram.")] * 2)
    for is_async in (True, False):
        answer = await show(llm.astream("Why?")) if is_async else show(llm.stream("Why?"))
        assert isinstance(answer, AIMessageChunk)
        assert answer.content == "They weigh\nthe same."
        assert answer.additional_kwargs["reasoning_content"] == "A kilogram is a kilogram."
        assert answer.response_metadata["finish_reason"] == "stop"
        thinking, first, second, facts = capsys.readouterr().out.splitlines()
        assert (thinking, first, second) == ("Thinking …", "They weigh", "the same.")
        assert re.fullmatch(r"\d+ tokens \(\d+ of reasoning\) · first token after \d+ ms( · [\d,]+ tokens/s)?", facts)


async def test_the_last_line_says_that_an_answer_was_cut_off(llm, server, capsys):
    """``finish_reason`` is ``length``: the stream ends without an error."""
    server.script(Reply("Rain is", finish_reason="length"))
    answer = await show(llm.astream("What is rain?"))
    assert answer.response_metadata["finish_reason"] == "length"
    assert capsys.readouterr().out.splitlines()[-1].endswith(" · cut off at the maximum number of tokens")


async def test_the_text_of_a_chain_is_printed_and_returned(llm, server, capsys):
    """As one string."""
    server.script(*[Reply("Rain is water.")] * 2)
    chain = llm | StrOutputParser()
    assert await show(chain.astream("What is rain?")) == "Rain is water."
    assert show(chain.stream("What is rain?")) == "Rain is water."
    assert capsys.readouterr().out.count("Rain is water.\n") == 2


async def test_the_newest_value_of_any_other_stream_is_printed_and_returned(capsys):
    """Dicts that grow, such as those of structured output, are shown as they are at the end."""
    assert show(iter([{"name": "A"}, {"name": "Ann"}])) == {"name": "Ann"}
    assert '"name": "Ann"' in capsys.readouterr().out


@pytest.mark.skipif(sys.version_info < (3, 11), reason="an async LangGraph agent does not stream tokens on Python 3.10")
@pytest.mark.parametrize("mode", ["messages", "several modes and subgraphs", "version 2", "events"])
async def test_the_steps_of_an_agent_are_shown_as_they_happen(mode, llm, capsys):
    """The call of a tool, its result, the answer; the answer's message is returned."""
    question = {"messages": [("user", "What is the weather in Oslo?")]}
    agent = weather_agent(llm)
    stream = {
        "messages": lambda: agent.astream(question, stream_mode="messages"),
        "several modes and subgraphs": lambda: agent.astream(
            question, stream_mode=["messages", "updates"], subgraphs=True
        ),
        "version 2": lambda: agent.astream(question, stream_mode="messages", version="v2"),
        "events": lambda: agent.astream_events(question, version="v2"),
    }[mode]
    answer = await show(stream())
    assert answer.content.startswith("The tool says: 18 °C in Oslo.")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["Thinking …", 'get_weather {"city":"Oslo"} → 18 °C in Oslo', "Thinking …", answer.content]
    assert lines[4].startswith("2 calls · ")
    assert len(lines) == 5


def test_what_would_move_a_terminals_cursor_is_not_printed(llm, server, capsys):
    """An answer cannot rewrite the lines above it."""
    server.script(Reply("good \x1b[2Jmorning\r\x07"))
    show(llm.stream("Hi"))
    assert capsys.readouterr().out.startswith("good [2Jmorning\n")


@pytest.mark.parametrize("wrong", ["text", None, AIMessageChunk(content="text"), {"a": 1}])
def test_what_is_no_stream_is_refused(wrong):
    """With the kind of object and an example of a stream."""
    with pytest.raises(TypeError, match=rf"of type {type(wrong).__name__}: pass a stream, such as llm\.astream"):
        show(wrong)


# -- endings


async def test_an_error_is_raised_after_what_had_come_is_shown(llm, server, capsys):
    """No line says that it was stopped."""
    server.script(*[CutAfter(events=3, reply=Reply("The harbour was quiet, and the boats lay still."))] * 2)
    with pytest.raises(StreamInterruptedError):
        await show(llm.astream("Tell me a story."))
    with pytest.raises(StreamInterruptedError):
        show(llm.stream("Tell me a story."))
    assert capsys.readouterr().out.splitlines() == ["The harbour was quiet, and the boats"] * 2


async def test_a_cancelled_task_is_cancelled_and_its_stream_closed(llm, server, capsys):
    """Time limits and task groups work as with any other awaitable."""
    gate = Gate(after=4, reply=Reply("one two three four five six seven eight nine ten eleven twelve"))
    server.script(gate)
    showing = asyncio.create_task(show(llm.astream("Count.")))
    await asyncio.to_thread(gate.wait_reached)
    showing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await showing
    assert await asyncio.to_thread(server.wait_for_disconnect)
    assert capsys.readouterr().out.endswith("\nStopped.\n")


@in_main_thread
@pytest.mark.parametrize("is_async", [True, False])
def test_an_interrupt_ends_the_stream_with_one_line_and_returns_what_had_come(is_async, llm, server, capsys):
    """The connection is closed, a call that had not come whole is invalid, and Ctrl-C does again what it did before."""
    before = signal.getsignal(signal.SIGINT)
    gate = Gate(
        after=4, reply=Reply(tool_calls=[ScriptedCall("look", {"where": "in the harbour of the old town " * 9})])
    )
    server.script(gate)

    def stream():
        with closing(llm.stream("Look.")) as chunks:
            for chunk in chunks:
                yield chunk
                if chunk.tool_call_chunks and chunk.tool_call_chunks[0]["args"]:
                    signal.raise_signal(signal.SIGINT)

    async def astream():
        async with aclosing(llm.astream("Look.")) as chunks:
            async for chunk in chunks:
                yield chunk
                if chunk.tool_call_chunks and chunk.tool_call_chunks[0]["args"]:
                    signal.raise_signal(signal.SIGINT)

    async def show_async():
        return await show(astream())

    answer = asyncio.run(show_async()) if is_async else show(stream())
    assert answer.tool_calls == []
    assert answer.invalid_tool_calls[0]["name"] == "look"
    assert "finish_reason" not in answer.response_metadata
    assert capsys.readouterr().out.endswith("\nStopped.\n")
    assert server.wait_for_disconnect()
    assert signal.getsignal(signal.SIGINT) is before


# -- Markdown


@pytest.mark.parametrize(
    ("text", "dangerous"),
    [
        ("a <img src=x onerror=alert(1)> b", "<img"),
        ("</div><script>alert(1)</script>", "<script"),
        ("a <!-- b", "<!--"),
        ("![x](https://example.com/?q=secret)", "!["),
        ("[x](javascript:alert(1))", "]("),
        ("[x](&#106;avascript:alert(1))", "]("),
        ("[x]\n\n[x]: javascript:alert(1)", "]:"),
        ("1. x\n   ```\n   code\n<img onerror=x>", "<img"),
        ("    ```\n```\n<img onerror=x>", "<img"),
        ("`a\n\n<img onerror=x>`", "<img"),
        ('[x]: https://a "t\n```\n"\n<img onerror=x>', "<img"),
        ("$$\n```\n$$ <img onerror=x>", "<img"),
    ],
)
def test_nothing_in_markdown_is_active(text, dangerous):
    """Whatever a renderer takes for code, math or a link: no tag, no image and no address of another kind is left."""
    assert dangerous not in _to_safe_markdown(text)


def test_code_with_tags_becomes_html_that_shows_the_same_characters():
    """So that it can be copied; a fence without them is left for the renderer, which colours it."""
    from html import unescape

    fine = "```python\nif a < b:\n    print('$x')\n```\n"
    assert _to_safe_markdown(fine) == fine
    tagged = '```html\n<p class="x">\n\n`$5` & *so*</p>\n```'
    [code] = re.findall(
        r"<pre><code>([^<>`$*\n]+)</code></pre>", _to_safe_markdown(f"{fine}{tagged}\nand <b>so</b> on")
    )
    assert unescape(code) == '<p class="x">\n\n`$5` & *so*</p>'
    assert fine in _to_safe_markdown(f"{fine}{tagged}")


def test_plain_markdown_is_left_as_it_is():
    """Lists, tables, emphasis, links to web pages, comparisons."""
    text = "# A\n\n* **b** < c, 1<2\n\n| x | y |\n|---|---|\n| 1 | [d](https://example.com) |\n"
    assert _to_safe_markdown(text) == text


def test_adding_takes_the_same_time_however_much_there_is():
    """Twenty thousand pieces are kept as they are and joined when they are drawn."""
    answer = _Answer()
    chunk = AIMessageChunk(content="word ", id="run")
    for _ in range(20_000):
        answer.add(chunk)
    [block] = answer.blocks
    assert len(block.pieces) == 20_000
    assert answer.merged(is_whole=True).content == "word " * 20_000


# -- IPython


@in_main_thread
def test_the_runner_of_a_terminals_cells_cancels_them_on_ctrl_c():
    """What the cell awaits ends before the next prompt."""
    helpers = pytest.importorskip("IPython.core.async_helpers")

    async def cell():
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "ended"

    try:
        assert _run_cell(cell()) == "ended"
    finally:
        helpers.get_asyncio_loop().close()


@pytest.mark.long
def test_ctrl_c_in_ipython_ends_the_stream(tmp_path):
    """That of `show`, of `%%ask`, and with the extension any other that a cell awaits: nothing goes on with the next cell."""
    pytest.importorskip("IPython")
    pexpect = pytest.importorskip("pexpect")
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path), "TERM": "dumb"}
    command = ["-m", "IPython", "--no-banner", "--simple-prompt", "--colors=NoColor"]
    prompt = r"\r\nIn \[\d+\]: "
    terminal = pexpect.spawn(sys.executable, command, env=environment, encoding="utf-8", timeout=60)
    try:
        terminal.expect(r"In \[1\]: ")

        def run(line, *, stop=False):
            terminal.sendline(line)
            if stop:
                terminal.expect("to be stopped")
                terminal.sendintr()
            terminal.expect(prompt)
            return terminal.before

        run(
            "from langchain_cerebras_demo import ChatCerebrasDemo; from langchain_cerebras_demo.notebook import show;"
            " from langchain_cerebras_demo.testing import Gate, LoopbackCerebras, Reply; server = LoopbackCerebras().start();"
            " llm = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)"
        )
        run("server.script(*[Gate(after=4, reply=Reply('This is to be stop' 'ped by Ctrl-C.')) for _ in range(4)])")
        for cell in ("answer = await show(llm.astream('Hi'))", "answer = show(llm.stream('Hi'))"):
            assert "Stopped." in run(cell, stop=True)
            assert "to be" in run("answer.content")
        run("%load_ext langchain_cerebras_demo.notebook")
        assert "Stopped." in run("get_ipython().run_cell_magic('ask', 'llm --into answer', 'Hi')", stop=True)
        stopped = run("async for chunk in llm.astream('Hi'): print(chunk.content, end='', flush=True)\n", stop=True)
        assert "Stopped." in stopped
        assert "Traceback" not in stopped
        assert "True" in run("server.wait_for_disconnect() and server.open_connections == 0")
        terminal.sendline("exit")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)


async def test_a_display_that_fails_ends_the_stream(llm, server, monkeypatch):
    """Nothing goes on in the background."""

    class Broken(_PlainView):
        def draw(self):
            raise BrokenPipeError

    monkeypatch.setattr("langchain_cerebras_demo.notebook._new_view", Broken)
    server.script(Gate(after=1, reply=Reply("one two three")))
    with pytest.raises(BrokenPipeError):
        await show(llm.astream("Count."))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert await asyncio.to_thread(server.wait_for_disconnect)


async def test_arguments_of_a_call_that_json_cannot_express_are_shown(capsys):
    """A message that a program has made may have any."""

    async def stream():
        yield AIMessage("", tool_calls=[{"name": "look", "args": {"on": date(2030, 1, 2)}, "id": "c1"}])

    await show(stream())
    assert "datetime.date(2030, 1, 2)" in capsys.readouterr().out
