"""``cerebras-demo ask``: one question, the answer on stdout as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import warnings
from contextlib import aclosing
from typing import Annotated, Any

import typer

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo.cli.notes import note, note_warning, show_log
from langchain_cerebras_demo.client import Client
from langchain_cerebras_demo.endpoint import to_base_url
from langchain_cerebras_demo.errors import APIError, CerebrasError, MissingKeyError
from langchain_cerebras_demo.keychain import to_key_chain
from langchain_cerebras_demo.records import CallRecord
from langchain_cerebras_demo.wire.completion import (
    Event,
    Finish,
    Identity,
    ReasoningDelta,
    TextDelta,
    Timing,
    Usage,
)
from langchain_cerebras_demo.wire.request import ChatRequest, check_messages

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    local_model: Annotated[
        bool, typer.Option("--local", help="Ask the small model on this machine: no key, no network.")
    ] = False,
    model: Annotated[str, typer.Option("--model", "-m", help="Model id or alias.")] = catalog.DEFAULT_MODEL,
    system: Annotated[str | None, typer.Option("--system", "-s", help="What the model is told beforehand.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Ask one question; the answer streams to standard output.

    Exit codes: 0 answered, 1 failed, 2 wrong usage, 130 interrupted.
    """
    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise typer.BadParameter("the question is empty", param_hint="QUESTION")
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    check_messages(messages)
    warnings.showwarning = note_warning
    show_log()
    try:
        if local_model:
            note(f"{local.LOCAL_MODEL} on this machine: a very small model, for trying things out")
            local.shared_server()  # here and not on a thread of the loop, so that Ctrl-C ends the fetch and the start
        asyncio.run(_answer(ChatRequest(model, messages), is_local=local_model, as_json=as_json))
    except KeyboardInterrupt:
        note("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        _close_stdout()
        raise typer.Exit(EXIT_FAILED) from None
    except (CerebrasError, ValueError) as error:
        if isinstance(error, APIError) and error.partial:
            sys.stdout.write("\n")
        hint = " On the command line the embedded model is --local." if isinstance(error, MissingKeyError) else ""
        note(f"{type(error).__name__}: {error}{hint}")
        raise typer.Exit(EXIT_FAILED) from None


async def _answer(request: ChatRequest, *, is_local: bool, as_json: bool) -> None:
    base_url = to_base_url("local" if is_local else None)
    client = Client(base_url=base_url, keys=to_key_chain(base_url, is_automatic=True))
    events: list[Event | CallRecord] = []
    async with aclosing(client.stream(request)) as batches:
        async for batch in batches:
            events += batch
            if not as_json:
                sys.stdout.write("".join(event.text for event in batch if isinstance(event, TextDelta)))
                sys.stdout.flush()
    sys.stdout.write(
        (json.dumps(_to_record(events, is_local=client.is_local), ensure_ascii=False) if as_json else "") + "\n"
    )
    sys.stdout.flush()
    if any(isinstance(event, Finish) and event.reason == "length" for event in events):
        note("the answer was cut off at its longest permitted length")


def _to_record(events: list[Event | CallRecord], *, is_local: bool) -> dict[str, Any]:
    """What ``--json`` prints: the answer and what is known of it."""
    record: dict[str, Any] = {
        "content": "".join(event.text for event in events if isinstance(event, TextDelta)),
        "reasoning": "".join(event.text for event in events if isinstance(event, ReasoningDelta)) or None,
        "provider": "local" if is_local else "cerebras",
        "model": None,
        "id": None,
        "finish_reason": None,
        "usage": None,
        "time_info": None,
    }
    for event in events:
        if isinstance(event, Identity):
            record.update(model=event.model, id=event.id)
        elif isinstance(event, Finish):
            record["finish_reason"] = event.reason
        elif isinstance(event, Usage):
            record["usage"] = {
                "input_tokens": event.prompt_tokens,
                "output_tokens": event.completion_tokens,
                "total_tokens": event.total_tokens,
            }
        elif isinstance(event, Timing):
            record["time_info"] = event.time_info
    return record


def _close_stdout() -> None:
    """Whoever read us has gone: without this the interpreter complains of it when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
