"""Display of answers in a notebook while they arrive.

    from langchain_cerebras_demo.notebook import show

    answer = await show(llm.astream("Why is the sky blue?"))

``%load_ext langchain_cerebras_demo.notebook`` adds the cell magic ``%%ask``. IPython is imported only when needed; without a rich
display (in a terminal or a script), the text is printed.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from html import escape
from typing import Any, TypeVar, overload

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage

from langchain_cerebras_demo.chat_models.content import REASONING_KEY, REFUSAL_KEY
from langchain_cerebras_demo.chat_models.generations import CALLS_KEY, check_calls

__all__ = ["load_ipython_extension", "show", "unload_ipython_extension"]

UPDATE_SECONDS = 0.05
"""The shortest time between two updates of the display."""

# Browsers need more time to render a long answer: 100,000 characters are updated four times per second.
_CHARACTERS_PER_SECOND = 400_000

# The most characters of a tool's arguments or result that are shown; the message has all of them.
_MOST_OF_A_CALL = 2_000

_MUTED = "opacity: 0.65; font-size: 0.85em"
_WRAPPED = "white-space: pre-wrap; overflow-wrap: anywhere; font-family: inherit; margin: 0.25em 0"


# -- show


@overload
def show(stream: AsyncIterable[AIMessageChunk]) -> Awaitable[AIMessageChunk]: ...


@overload
def show(stream: AsyncIterable[str]) -> Awaitable[str]: ...


@overload
def show(stream: AsyncIterable[Any]) -> Awaitable[Any]: ...


@overload
def show(stream: Iterable[AIMessageChunk]) -> AIMessageChunk: ...


@overload
def show(stream: Iterable[str]) -> str: ...


@overload
def show(stream: Iterable[Any]) -> Any: ...


def show(stream: Any) -> Any:
    """Display a stream while it arrives, and return the merged result.

    The answer is displayed as Markdown, with the reasoning folded above it, tool calls and their results as they happen, and below
    it the time to the first token and the tokens per second. The display is updated at most twenty times per second. HTML in an
    answer is shown as text, and images as links.

    The stop button (or Ctrl-C) ends the stream: the display ends with ``Stopped.``, and the partial result is returned, without a
    ``finish_reason``. Other cancellations and errors are raised, after the partial result is displayed.

    Args:
        stream: the result of ``stream`` or ``astream`` of a model, a chain or an agent (with ``stream_mode="messages"``), or of
            ``astream_events`` with ``version="v2"``. For a stream of other values, the newest value is shown.

    Returns:
        The merged message of a stream of messages (the last message if there are several), the text of a stream of strings, or the
        last of other values; an empty message if nothing arrived. For an async stream, an awaitable of the result.

    Raises:
        TypeError: ``stream`` cannot be iterated.
    """
    if isinstance(stream, AsyncIterable):
        return _show_async(stream)
    if isinstance(stream, (str, BaseMessage, Mapping)) or not isinstance(stream, Iterable):
        raise TypeError(
            f"show() got an object of type {type(stream).__name__}: pass a stream, such as llm.astream(…) or llm.stream(…)"
        )
    return _show_sync(stream)


async def _show_async(stream: AsyncIterable[Any]) -> Any:
    answer = _Answer()
    view = _new_view(answer)
    loop = asyncio.get_running_loop()
    # In a separate task, so that the stop button cancels the stream and not the cell.
    collecting = asyncio.create_task(_collect(stream, answer))
    with _stop_button(lambda: loop.call_soon_threadsafe(collecting.cancel)):
        try:
            while not (await asyncio.wait({collecting}, timeout=view.pause))[0]:
                view.draw()
        except asyncio.CancelledError:
            await _cancel(collecting)
            view.end(is_stopped=True)
            raise
        except BaseException:  # of the display
            await _cancel(collecting)
            raise
    view.end(is_stopped=collecting.cancelled(), is_failed=not collecting.cancelled() and bool(collecting.exception()))
    if not collecting.cancelled():
        collecting.result()  # raises the error of the stream
    return _not_shown_again(answer.merged(is_whole=not collecting.cancelled()))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _collect(stream: AsyncIterable[Any], answer: _Answer) -> None:
    try:
        async for item in stream:
            answer.add(item)
    finally:
        if (aclose := getattr(stream, "aclose", None)) is not None:
            await aclose()


def _show_sync(stream: Iterable[Any]) -> Any:
    answer = _Answer()
    view = _new_view(answer)
    is_over = threading.Event()

    def draw() -> None:
        while not is_over.wait(view.pause):
            view.draw()

    # The main thread waits for the stream. The context is copied because kernels store the cell of an output in a context variable.
    drawing = threading.Thread(target=copy_context().run, args=(draw,), name="notebook-show", daemon=True)
    is_stopped = is_failed = False
    with _interrupts_raise():
        try:
            drawing.start()
            for item in stream:
                answer.add(item)
        except KeyboardInterrupt:
            is_stopped = True
        except BaseException:
            is_failed = True
            raise
        finally:
            is_over.set()
            drawing.join()
            if (close := getattr(stream, "close", None)) is not None:
                close()
            view.end(is_stopped=is_stopped, is_failed=is_failed)
    return _not_shown_again(answer.merged(is_whole=not is_stopped))


# -- the stop button

_stops: list[Callable[[], object]] = []  # for each async stream that is being shown
_handler_before: list[Any] = []


@contextmanager
def _stop_button(stop: Callable[[], object]) -> Iterator[None]:
    """Call ``stop`` on SIGINT. A notebook or IPython would show a long traceback or leave the stream running."""
    if threading.current_thread() is not threading.main_thread():  # signals are not handled in other threads
        yield
        return
    if not _stops:
        _handler_before.append(signal.signal(signal.SIGINT, lambda *_: [stop() for stop in _stops]))
    _stops.append(stop)
    try:
        yield
    finally:
        _stops.remove(stop)
        if not _stops:
            signal.signal(signal.SIGINT, _handler_before.pop() or signal.SIG_DFL)


@contextmanager
def _interrupts_raise() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` on SIGINT; in a cell with ``await``, ipykernel would wait for the event loop instead."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


# -- the answer so far

_B = TypeVar("_B", bound="_Block")


class _Block:
    """A part of the display that is updated separately: the text of a message, its reasoning, or a tool call."""

    def __init__(self) -> None:
        self.pieces: list[str] = []  # of the text that is printed without a rich display
        self.is_changed = True

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        self.is_changed = True

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def to_bundle(self) -> dict[str, str]:
        text = self.text
        return {"text/markdown": _to_safe_markdown(text), "text/plain": text}


class _Reasoning(_Block):
    def __init__(self) -> None:
        super().__init__()
        self.pieces = ["Thinking …"]
        self.thoughts: list[str] = []

    def add(self, piece: str) -> None:
        self.thoughts.append(piece)
        self.is_changed = True

    def to_bundle(self) -> dict[str, str]:
        thoughts = "".join(self.thoughts).strip()
        words = len(thoughts.split())
        title = f"Reasoning ({words:,} word{'' if words == 1 else 's'})"
        html = (
            f'<details style="{_MUTED}"><summary style="cursor: pointer">{title}</summary>'
            f'<pre style="{_WRAPPED}">{escape(thoughts)}</pre></details>'
        )
        return {"text/html": html, "text/plain": title}


class _ToolCall(_Block):
    def __init__(self, name: str, arguments: str = "") -> None:
        super().__init__()
        self.name = name
        self.arguments = [arguments]
        self.result = ""
        self.pieces = [name, " ", arguments]

    def add(self, piece: str) -> None:
        self.arguments.append(piece)
        super().add(piece)

    def end(self, result: str) -> None:
        self.result = f" → {_cut(result)}"
        super().add(self.result)

    def to_bundle(self) -> dict[str, str]:
        arguments = _cut("".join(self.arguments))
        html = (
            f'<pre style="{_WRAPPED}"><code><b>{escape(self.name)}</b> {escape(arguments)}</code>'
            f"{escape(self.result)}</pre>"
        )
        return {"text/html": html, "text/plain": f"{self.name} {arguments}{self.result}"}


class _Value(_Block):
    def set(self, value: Any) -> None:
        text = json.dumps(value, indent=2, ensure_ascii=False, default=repr) if isinstance(value, dict) else repr(value)
        self.pieces, self.is_changed = [text], True

    def to_bundle(self) -> dict[str, str]:
        return {"text/html": f'<pre style="{_WRAPPED}">{escape(self.text)}</pre>', "text/plain": self.text}


class _Line(_Block):
    def to_bundle(self) -> dict[str, str]:
        return {"text/html": f'<div style="{_MUTED}">{escape(self.text)}</div>', "text/plain": self.text}


class _Message:
    """One message of the stream, with its chunks and the blocks that show it."""

    def __init__(self) -> None:
        self.chunks: list[AIMessage] = []
        self.text: _Block | None = None
        self.reasoning: _Reasoning | None = None
        self.calls: dict[Any, _ToolCall] = {}


class _Answer:
    """The part of a stream that has arrived. Adding an item takes constant time."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.characters = 0
        self.first_after: float | None = None
        self._began = time.perf_counter()
        self._messages: dict[str | None, _Message] = {}
        self._last: _Message | None = None
        self._calls: dict[str | None, _ToolCall] = {}
        self._text: _Block | None = None
        self._value: _Value | None = None
        self._last_value: Any = None

    def add(self, item: Any) -> None:
        """Add one item of a stream."""
        for piece in _pieces_of(item):
            if isinstance(piece, AIMessage):
                self._add_message(piece)
            elif isinstance(piece, str):
                if self._text is None:
                    self._text = self._new(_Block())
                self._count(piece)
                self._text.add(piece)
            elif isinstance(piece, ToolMessage):
                self._add_result(piece)
            elif not isinstance(piece, BaseMessage):  # messages to a model are not shown
                if self._value is None:
                    self._value = self._new(_Value())
                self._value.set(piece)
                self._last_value = piece

    def _new(self, block: _B) -> _B:
        self.blocks.append(block)
        return block

    def _count(self, text: str) -> None:
        self.characters += len(text)
        if self.first_after is None and text:
            self.first_after = time.perf_counter() - self._began

    def _add_message(self, chunk: AIMessage) -> None:
        message = self._messages.get(chunk.id)
        if message is None:
            message = self._messages[chunk.id] = _Message()
        self._last = message
        message.chunks.append(chunk)
        text, reasoning = _text_and_reasoning(chunk)
        if reasoning:
            self._count(reasoning)
            if message.reasoning is None:
                message.reasoning = self._new(_Reasoning())
            message.reasoning.add(reasoning)
        if text:
            self._count(text)
            if message.text is None:
                message.text = self._new(_Block())
            message.text.add(text)
        if isinstance(chunk, AIMessageChunk):
            for fragment in chunk.tool_call_chunks:
                self._add_fragment(message, fragment)
        else:
            for call in chunk.tool_calls:
                arguments = json.dumps(call["args"], ensure_ascii=False, default=repr)
                self._calls[call["id"]] = self._new(_ToolCall(call["name"], arguments))

    def _add_fragment(self, message: _Message, fragment: Mapping[str, Any]) -> None:
        self._count(fragment["args"] or "")
        block = message.calls.get(fragment["index"])
        if block is None:
            block = self._new(_ToolCall(fragment["name"] or "tool"))
            message.calls[fragment["index"]] = block
        if fragment["id"]:
            self._calls[fragment["id"]] = block
        block.add(fragment["args"] or "")

    def _add_result(self, result: ToolMessage) -> None:
        block = self._calls.get(result.tool_call_id)
        if block is None:
            block = self._new(_ToolCall(result.name or "tool"))
        block.end(f"{'error: ' if result.status == 'error' else ''}{result.text}")

    def merged(self, *, is_whole: bool) -> Any:
        """Return the merged result of the stream."""
        if self._last is not None:
            return _merge(self._last.chunks, is_whole=is_whole)
        if self._text is not None:
            return self._text.text
        return AIMessageChunk(content="") if self._value is None else self._last_value

    def _is_cut(self) -> bool:
        """Return whether the last message ended at its limit of tokens."""
        chunks = self._last.chunks if self._last else ()
        return any(chunk.response_metadata.get("finish_reason") == "length" for chunk in chunks)

    def facts(self) -> str:
        """Return one line: the tokens, the time to the first token, the tokens per second, and whether the answer was cut off."""
        records: list[Mapping[str, Any]] = []
        usages: list[Any] = []
        for message in self._messages.values():
            for chunk in message.chunks:
                records += chunk.response_metadata.get(CALLS_KEY) or ()
                usages += [chunk.usage_metadata] if chunk.usage_metadata else []
        seconds = time.perf_counter() - self._began
        tokens = sum(usage["output_tokens"] for usage in usages)
        thoughts = sum((usage.get("output_token_details") or {}).get("reasoning", 0) for usage in usages)
        first = records[0].get("ttft") if records else None
        first = self.first_after if first is None else first
        coming = _seconds_of(records, usages)
        if coming is None:
            coming = seconds - (self.first_after or 0.0)
        facts = [
            f"{len(usages)} calls" if len(usages) > 1 else "",
            f"{tokens:,} tokens{f' ({thoughts:,} of reasoning)' if thoughts else ''}" if tokens else "",
            f"first {'token' if tokens else 'text'} after {_to_words(first)}" if first is not None else "",
            "" if tokens else f"{_to_words(seconds)} in all",
            # The speed of an answer that arrived in one read cannot be measured.
            f"{tokens / coming:,.0f} tokens/s" if tokens and coming >= 0.01 else "",
            "cut off at the maximum number of tokens" if self._is_cut() else "",
        ]
        return " · ".join(filter(None, facts))


def _seconds_of(records: list[Mapping[str, Any]], usages: list[Any]) -> float | None:
    """Return the time in which the tokens arrived, according to the calls' records; ``None`` if a record lacks it."""
    if not records or len(records) != len(usages) or not all(record.get("tokens_per_second") for record in records):
        return None
    return float(
        sum(usage["output_tokens"] / record["tokens_per_second"] for usage, record in zip(usages, records, strict=True))
    )


def _to_words(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _pieces_of(item: Any) -> Iterator[Any]:
    """Yield the messages, strings or values in one item of a stream."""
    if (
        isinstance(item, tuple) and item
    ):  # LangGraph: (message, metadata), with several modes or subgraphs (…, mode, data) around it
        if len(item) == 2 and isinstance(item[0], BaseMessage):
            yield item[0]
        elif "messages" in item[:-1] or isinstance(item[-1], tuple):
            yield from _pieces_of(item[-1])
    elif isinstance(item, dict) and "event" in item and "data" in item:  # astream_events, version 2
        if item["event"] == "on_chat_model_stream":
            yield item["data"]["chunk"]
        elif item["event"] == "on_tool_end" and isinstance(item["data"].get("output"), ToolMessage):
            yield item["data"]["output"]
    elif isinstance(item, dict) and "type" in item and "ns" in item and "data" in item:  # LangGraph, version 2
        if item["type"] == "messages":
            yield from _pieces_of(item["data"])
    else:
        yield item


def _text_and_reasoning(chunk: AIMessage) -> tuple[str, str]:
    more = chunk.additional_kwargs
    reasoning = more.get(REASONING_KEY) or ""
    if isinstance(chunk.content, str):
        return chunk.content + more.get(REFUSAL_KEY, ""), reasoning
    blocks = [block for block in chunk.content if isinstance(block, dict)]
    return chunk.text, reasoning + "".join(
        str(block.get(key, "")) for block in blocks for key in ("reasoning", "thinking") if block.get("type") == key
    )


def _merge(chunks: list[AIMessage], *, is_whole: bool) -> AIMessage:
    parts = [chunk for chunk in chunks if isinstance(chunk, AIMessageChunk)]
    if not parts:
        return chunks[-1]
    merged = parts[0] + parts[1:] if len(parts) > 1 else parts[0]
    if not is_whole:
        check_calls(merged)
    return merged


# -- drawing


class _RichView:
    """A view that displays blocks by Jupyter's display messages."""

    def __init__(self, answer: _Answer) -> None:
        from IPython.display import display  # noqa: PLC0415 - already loaded by its kernel

        self._display = display
        self._answer = answer
        self._handles: list[Any] = []

    @property
    def pause(self) -> float:
        """Seconds until the next update."""
        return max(UPDATE_SECONDS, self._answer.characters / _CHARACTERS_PER_SECOND)

    def draw(self) -> None:
        for number, block in enumerate(self._answer.blocks):
            if not block.is_changed:
                continue
            block.is_changed = False  # before reading it, because another thread may add to it
            bundle = block.to_bundle()
            if number < len(self._handles):
                self._handles[number].update(bundle, raw=True)
            else:
                self._handles.append(self._display(bundle, raw=True, display_id=True))

    def end(self, *, is_stopped: bool = False, is_failed: bool = False) -> None:
        line = "Stopped." if is_stopped else "" if is_failed else self._answer.facts()
        if line:
            block = _Line()
            block.add(line)
            self._answer.blocks.append(block)
        self.draw()


class _PlainView:
    """A view that prints blocks, without a rich display."""

    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self._printed: dict[int, int] = {}
        self._newest: _Block | None = None

    pause = UPDATE_SECONDS

    def draw(self) -> None:
        for number, block in enumerate(self._answer.blocks):
            if not block.is_changed or isinstance(block, _Value):
                continue
            block.is_changed = False
            begin, end = self._printed.get(number, 0), len(block.pieces)
            self._printed[number] = end
            self._print(block, "".join(block.pieces[begin:end]))
        sys.stdout.flush()

    def _print(self, block: _Block, text: str) -> None:
        if not text:
            return
        if self._newest not in {None, block}:
            sys.stdout.write("\n")
        self._newest = block
        sys.stdout.write(_CONTROL.sub("", text))

    def end(self, *, is_stopped: bool = False, is_failed: bool = False) -> None:
        self.draw()
        for block in self._answer.blocks:
            if isinstance(block, _Value):  # only the newest value, because printed lines cannot be removed
                self._print(block, block.text)
        line = "Stopped." if is_stopped else "" if is_failed else self._answer.facts()
        if line:
            self._print(_Line(), line)
        sys.stdout.write("\n")
        sys.stdout.flush()


# Control characters, which could move a terminal's cursor or change its settings.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _new_view(answer: _Answer) -> _RichView | _PlainView:
    return _PlainView(answer) if getattr(_shell(), "kernel", None) is None else _RichView(answer)


def _shell() -> Any:
    """Return the IPython shell of this process, or ``None``, without importing IPython."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def _not_shown_again(result: Any) -> Any:
    """Return ``result``, which is not displayed again if it is the value of the cell's last line."""
    if _shell() is not None:
        display = sys.displayhook  # IPython sets it for each cell
        sys.displayhook = _DisplayOthers(display.display if isinstance(display, _DisplayOthers) else display, result)
    return result


class _DisplayOthers:
    """A display hook that skips one value."""

    def __init__(self, display: Callable[[Any], object], shown: Any) -> None:
        self.display = display
        self.shown = shown

    def __call__(self, value: Any) -> None:
        if value is not self.shown:
            self.display(value)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_OF_A_CALL else f"{text[:_MOST_OF_A_CALL]} …"


# -- untrusted Markdown
#
# Jupyter trusts the outputs of a running kernel: HTML in Markdown is executed, and images are fetched from any address. An invisible
# character (U+200B) after `<`, `!` or `]` prevents a tag, an image, or a link to anything but a web page. Code must be copied
# unchanged, so a code block with such characters is written as escaped HTML instead.

_FENCE = re.compile(
    r"^(?P<marks>`{3,}|~{3,})[^\n`]*\n(?P<code>.*?)(?:^(?P=marks)[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
_ACTIVE = re.compile(r"<(?=[a-z/!?])|!(?=\[)|\](?=\((?!\s*https?://))|\](?=:(?!\s*https?://))", re.IGNORECASE)
_MEANINGFUL = re.compile(r"[^\w .,;=+\-]")


def _to_safe_markdown(text: str) -> str:
    """Return Markdown without active content: no HTML, no images, and only links to web pages."""
    if not _ACTIVE.search(text):
        return text
    parts: list[str] = []
    position = 0
    for fence in _FENCE.finditer(text):
        if _ACTIVE.search(fence[0]):
            code = _MEANINGFUL.sub(lambda found: f"&#{ord(found[0])};", fence["code"].rstrip("\n"))
            parts += [_to_inactive(text[position : fence.start()]), f"\n<pre><code>{code}</code></pre>\n"]
            position = fence.end()
    return "".join([*parts, _to_inactive(text[position:])])


def _to_inactive(text: str) -> str:
    return _ACTIVE.sub("\\g<0>\u200b", text)


# -- IPython


def load_ipython_extension(shell: Any) -> None:
    """Add ``%%ask`` to a shell, and let the stop button or Ctrl-C end any awaited cell without a traceback.

    ``%%ask`` sends the rest of the cell to ``ChatCerebrasDemo()`` and shows the answer. ``%%ask llm`` uses another model or chain,
    and ``--into answer`` stores the answer in a variable.
    """
    from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring  # noqa: PLC0415 - the shell's

    models: list[Any] = []

    @magic_arguments("ask")
    @argument("model", nargs="?", help="A model or a chain of the notebook. Default: ChatCerebrasDemo().")
    @argument("--into", metavar="NAME", help="The variable to store the answer in.")
    def ask(line: str, cell: str) -> None:
        """Send the text of the cell to a model, and show the answer while it arrives."""
        given = parse_argstring(ask, line)
        if given.model is None and not models:
            from langchain_cerebras_demo import ChatCerebrasDemo  # noqa: PLC0415 - aiohttp loads with it

            models.append(ChatCerebrasDemo())
        model = models[0] if given.model is None else shell.ev(given.model)
        answer = show(model.stream(cell.strip()))
        if given.into:
            shell.user_ns[given.into] = answer

    shell.register_magic_function(ask, "cell", "ask")
    shell.set_custom_exc((asyncio.CancelledError,), _print_stopped)
    if getattr(shell, "kernel", None) is None:
        shell.loop_runner = _run_cell


def unload_ipython_extension(shell: Any) -> None:
    """Remove ``%%ask``."""
    shell.magics_manager.magics["cell"].pop("ask", None)
    if shell.custom_exceptions == (asyncio.CancelledError,):
        shell.set_custom_exc((), None)
    if shell.loop_runner is _run_cell:
        shell.loop_runner = "asyncio"


def _print_stopped(*_: Any, **__: Any) -> None:
    sys.stdout.write("\nStopped.\n")


def _run_cell(coroutine: Any) -> Any:
    """Run a cell in a terminal's event loop, and cancel it on Ctrl-C; IPython would continue it at the next ``await``."""
    from IPython.core.async_helpers import get_asyncio_loop  # noqa: PLC0415 - the shell's

    loop = get_asyncio_loop()
    cell = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(cell)
    except KeyboardInterrupt:
        cell.cancel()
        return loop.run_until_complete(cell)
