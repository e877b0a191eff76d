"""One answer on its way from the client to the terminal: shown as it comes, and what is known of it afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Any, TypeVar

from langchain_cerebras_demo import local
from langchain_cerebras_demo.cli.notes import note
from langchain_cerebras_demo.cli.terminal import dim, is_terminal, printable, write_error, write_out
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import ContextOverflowError
from langchain_cerebras_demo.keys.chain import to_key_chain
from langchain_cerebras_demo.net.endpoint import to_base_url
from langchain_cerebras_demo.net.portal import portal
from langchain_cerebras_demo.records import CallRecord
from langchain_cerebras_demo.wire.completion import (
    Event,
    Finish,
    Identity,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)
from langchain_cerebras_demo.wire.request import ChatRequest

T = TypeVar("T")


def open_client(*, is_local: bool) -> Client:
    """The client behind a command; with ``is_local`` the embedded model is started and said to be one.

    Raises:
        LocalServerError, KeyFormatError, ValueError: the model does not start, or the environment is wrong.
    """
    if is_local:
        note(f"{local.LOCAL_MODEL} on this machine: a very small model, for trying things out")
        local.shared_server()  # here and not on a thread of the loop, so that Ctrl-C ends the fetch and the start
    base_url = to_base_url("local" if is_local else None)
    return Client(base_url=base_url, keys=to_key_chain(base_url, is_automatic=True))


def _local_bound() -> str:
    settings = local.shared_server().engine_settings
    tokens = settings["n_ctx"] // settings["n_parallel"]
    return f"The embedded model takes {tokens:,} tokens: give a shorter text, or ask a Cerebras model"


class Answer:
    """What has come of one answer so far.

    Args:
        shows_text: whether the text goes to stdout as it comes.
        shows_reasoning: whether the thoughts go to stderr as they come.
    """

    def __init__(self, *, shows_text: bool = True, shows_reasoning: bool = False) -> None:
        self.events: list[Event | CallRecord] = []
        self._shows_text = shows_text
        self._shows_reasoning = shows_reasoning
        self._is_thinking = False

    def ask(self, client: Client, request: ChatRequest) -> None:
        """Sends the request and shows what comes. Ctrl-C leaves what had come, and closes the connection.

        Raises:
            CerebrasError: as ``Client.stream``.
        """
        try:
            with closing(portal.iterate(lambda: client.stream(request))) as batches:
                for batch in batches:
                    self.events += batch
                    self._show(batch)
        except ContextOverflowError as error:
            if client.is_local:  # llama.cpp's own advice is to make its context larger, which no option of ours does
                error.args = (f"{error}. {_local_bound()}",)
            raise

    @property
    def text(self) -> str:
        """The answer, or what the model said instead of one."""
        return "".join(event.text for event in self.events if isinstance(event, TextDelta | RefusalDelta))

    @property
    def refusal(self) -> str:
        """What the model said where it declined to answer."""
        return "".join(event.text for event in self._all(RefusalDelta))

    @property
    def reasoning(self) -> str:
        """What the model thought before it answered."""
        return "".join(event.text for event in self._all(ReasoningDelta))

    @property
    def was_cut_off(self) -> bool:
        """Whether the answer ended at its longest permitted length."""
        return any(event.reason == "length" for event in self._all(Finish))

    def stats(self) -> str:
        """One line: the time to the first token, the speed, the tokens, the whole time."""
        record = next(self._all(CallRecord), None)
        if record is None:
            return "the answer did not end, so nothing was measured"
        usage = next(self._all(Usage), None)
        thought = f" ({usage.reasoning_tokens:,} of them thoughts)" if usage and usage.reasoning_tokens else ""
        facts = [
            f"first token after {record.ttft:.2f} s" if record.ttft is not None else "",
            f"{record.tokens_per_second:,.0f} tokens/s" if record.tokens_per_second is not None else "",
            f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out{thought}" if usage else "",
            f"{record.seconds:.2f} s in all",
            f"{record.paced + record.backed_off:.1f} s of them waiting"
            if record.paced + record.backed_off > 0.1
            else "",
            f"{record.attempts} attempts" if record.attempts > 1 else "",
        ]
        return f"{self._model() or record.model}: {', '.join(filter(None, facts))}"

    def to_dict(self, *, is_local: bool) -> dict[str, Any]:
        """What ``--json`` prints: the answer and what is known of it. Times are seconds."""
        identity = next(self._all(Identity), None)
        finish = next(self._all(Finish), None)
        usage = next(self._all(Usage), None)
        record = next(self._all(CallRecord), None)
        tokens = usage and {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        }
        measured = ("seconds", "ttft", "tokens_per_second", "attempts", "paced", "backed_off")
        return {
            "content": "".join(event.text for event in self._all(TextDelta)),
            "refusal": self.refusal or None,
            "reasoning": self.reasoning or None,
            "provider": "local" if is_local else "cerebras",
            "model": identity.model if identity else None,
            "id": identity.id if identity else None,
            "finish_reason": finish.reason if finish else None,
            "usage": tokens,
            "time_info": record.time_info if record else None,
            "stats": {name: value for name, value in asdict(record).items() if name in measured} if record else None,
        }

    def _model(self) -> str | None:
        identity = next(self._all(Identity), None)
        return identity.model if identity else None

    def _all(self, kind: type[T]) -> Iterator[T]:
        return (event for event in self.events if isinstance(event, kind))

    def _show(self, batch: list[Event | CallRecord]) -> None:
        thought = "".join(event.text for event in batch if isinstance(event, ReasoningDelta))
        if thought and self._shows_reasoning:
            self._is_thinking = True
            write_error(dim(printable(thought), sys.stderr))
        text = "".join(event.text for event in batch if isinstance(event, TextDelta | RefusalDelta))
        if text and self._is_thinking:
            self.end_thoughts()
        if text and self._shows_text:
            write_out(text)

    def end_thoughts(self) -> None:
        """Ends the line of thoughts that is under way, if one is."""
        if self._is_thinking:
            self._is_thinking = False
            write_error("\n\n" if is_terminal(sys.stderr) else "\n")
