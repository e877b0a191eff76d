"""The client of a command, and an answer that is shown while it arrives and described afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, TypeVar

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo.cli.inputs import InputError
from langchain_cerebras_demo.cli.terminal import dim, is_terminal, note, printable, write_error, write_out
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import CerebrasError, ContextOverflowError, KeyFormatError
from langchain_cerebras_demo.keys.chain import to_key_chain
from langchain_cerebras_demo.net.endpoint import is_loopback, to_base_url
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


def base_url_of(*, is_local: bool) -> str:
    """Return the base URL of a command's requests; ``local`` for the embedded model.

    Raises:
        InputError: ``CEREBRAS_BASE_URL`` is invalid.
    """
    try:
        return to_base_url("local" if is_local else None)
    except (KeyFormatError, ValueError) as error:
        raise InputError(str(error)) from None


def open_client(*, is_local: bool, needs_key: bool = False) -> Client:
    """Return the client for a command.

    Args:
        is_local: whether to use the embedded model, as with ``CEREBRAS_BASE_URL=local``; it is then started here.
        needs_key: whether to look up the key now, unless the address is on this machine.

    Raises:
        InputError: ``CEREBRAS_BASE_URL`` is invalid.
        LocalServerError: the embedded model does not start.
        MissingKeyError: there is no key, and the address needs one.
        KeyFormatError, ValueError: an environment variable is invalid.
    """
    base_url = base_url_of(is_local=is_local)
    if base_url == "local":
        note(f"{local.LOCAL_MODEL} on this machine: a very small model, for trying things out")
        local.shared_server()  # not on the loop's thread, so that Ctrl-C ends the download and the start
    keys = to_key_chain(base_url, is_automatic=True)
    if needs_key and base_url != "local" and not is_loopback(base_url):
        portal.run(keys.resolve)
    return Client(base_url=base_url, keys=keys)


def check_model(client: Client, name: str) -> str:
    """Return the id of a model, given by id or alias, if the catalogue or the service has it.

    If the service cannot be asked, a note says so, and the model is accepted.

    Raises:
        InputError: there is no such model; the message names others.
    """
    model, problem = find_model(client, name)
    if problem:
        note(f"the model {model!r} could not be checked ({problem}); the first request will show whether it exists")
    return model


def find_model(client: Client, name: str) -> tuple[str, str]:
    """Return the id of a model, given by id or alias, and why the service could not be asked for it; ``""`` if it could.

    The service is asked only for a model that the catalogue does not have.

    Raises:
        InputError: there is no such model; the message names others.
    """
    try:
        model = client.resolve_model(name)
    except ValueError as error:
        raise InputError(str(error)) from None
    today = datetime.now(tz=timezone.utc).date()
    spec = catalog.find_spec(model)
    if client.is_local or (spec is not None and catalog.is_served(spec, today)):
        return model, ""
    try:
        rows: list[Any] = portal.run(client.list_models)
    except CerebrasError as error:
        return model, type(error).__name__
    if any(isinstance(row, dict) and row.get("id") == model for row in rows):
        return model, ""
    raise InputError(f"there is no model {model!r}. {catalog.unknown_model_hint(model, today)}".rstrip())


class Answer:
    """The part of an answer that has arrived.

    Args:
        shows_text: whether the text is written to stdout as it arrives.
        shows_reasoning: whether the reasoning is written to stderr as it arrives.
    """

    def __init__(self, *, shows_text: bool = True, shows_reasoning: bool = False) -> None:
        self.events: list[Event | CallRecord] = []
        self._shows_text = shows_text
        self._shows_reasoning = shows_reasoning
        self._is_reasoning = False

    def ask(self, client: Client, request: ChatRequest) -> None:
        """Send the request and show the answer. Ctrl-C keeps what has arrived, and closes the connection.

        Raises:
            CerebrasError: as ``Client.stream``.
        """
        try:
            with closing(portal.iterate(lambda: client.stream(request))) as batches:
                for batch in batches:
                    self.events += batch
                    self._show(batch)
        except ContextOverflowError as error:
            if client.is_local:  # llama.cpp advises a larger context, for which there is no option here
                settings = local.shared_server().engine_settings
                most = settings["n_ctx"] // settings["n_parallel"]
                error.args = (
                    f"the embedded model reads {most:,} tokens at most: shorten the text, or use a Cerebras model",
                )
            raise

    @property
    def text(self) -> str:
        """The text of the answer, or of a refusal."""
        return "".join(event.text for event in self.events if isinstance(event, TextDelta | RefusalDelta))

    @property
    def refusal(self) -> str:
        """The text of a refusal; empty if the model answered."""
        return "".join(event.text for event in self._all(RefusalDelta))

    @property
    def reasoning(self) -> str:
        """The reasoning before the answer."""
        return "".join(event.text for event in self._all(ReasoningDelta))

    @property
    def finish_reason(self) -> str | None:
        """The service's reason for the end of the answer."""
        return next((event.reason for event in self._all(Finish)), None)

    @property
    def was_cut_off(self) -> bool:
        """Whether the answer reached the maximum number of tokens."""
        return self.finish_reason == "length"

    def cut_off(self) -> str:
        """Return the sentence for an answer that was cut off."""
        usage = next(self._all(Usage), None)
        most = f"{usage.completion_tokens:,} tokens" if usage else "the maximum number of tokens"
        return f"the answer was cut off at {most}; --max-tokens N allows more"

    def stats(self) -> str:
        """Return one line with the time to the first token, the speed, the tokens and the total time."""
        record = next(self._all(CallRecord), None)
        if record is None:
            return "no statistics, because the answer is incomplete"
        usage = next(self._all(Usage), None)
        reasoning = f" ({usage.reasoning_tokens:,} for reasoning)" if usage and usage.reasoning_tokens else ""
        waited = record.paced + record.backed_off
        facts = [
            f"first token after {record.ttft:.2f} s" if record.ttft is not None else "",
            f"{record.tokens_per_second:,.0f} tokens/s" if record.tokens_per_second is not None else "",
            f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out{reasoning}" if usage else "",
            f"{record.seconds:.2f} s in total",
            f"{waited:.1f} s of it waiting" if waited > 0.1 else "",
            f"{record.attempts} attempts" if record.attempts > 1 else "",
        ]
        identity = next(self._all(Identity), None)
        model = (identity and identity.model) or record.model
        return f"{model}: {', '.join(filter(None, facts))}"

    def to_dict(self, *, is_local: bool) -> dict[str, Any]:
        """Return what ``--json`` prints: the answer and its facts. Times are in seconds."""
        identity = next(self._all(Identity), None)
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
            "finish_reason": self.finish_reason,
            "usage": tokens,
            "time_info": record.time_info if record else None,
            "stats": {name: value for name, value in asdict(record).items() if name in measured} if record else None,
        }

    def _all(self, kind: type[T]) -> Iterator[T]:
        return (event for event in self.events if isinstance(event, kind))

    def _show(self, batch: list[Event | CallRecord]) -> None:
        reasoning = "".join(event.text for event in batch if isinstance(event, ReasoningDelta))
        if reasoning and self._shows_reasoning:
            self._is_reasoning = True
            write_error(dim(printable(reasoning), sys.stderr))
        text = "".join(event.text for event in batch if isinstance(event, TextDelta | RefusalDelta))
        if text:
            self.end_reasoning()
        if text and self._shows_text:
            write_out(text)

    def end_reasoning(self) -> None:
        """End the line of reasoning on stderr, if there is one."""
        if self._is_reasoning:
            self._is_reasoning = False
            write_error("\n\n" if is_terminal(sys.stderr) else "\n")
