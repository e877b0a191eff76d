"""``cerebras-demo ask``: one question; the answer streams to stdout."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.guard import EXIT_FAILED, to_error
from langchain_cerebras_demo.cli.inputs import STDIN, InputError, read_schema, to_content, to_parameters
from langchain_cerebras_demo.cli.options import (
    JsonOption,
    LocalOption,
    ModelOption,
    ReasoningOption,
    StatsOption,
    SystemOption,
    note_embedded_only,
)
from langchain_cerebras_demo.cli.terminal import is_terminal, note, write_json, write_out


def ask(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(help="The question; - (or nothing, in a pipe) reads standard input.")] = "",
    *,
    local_model: LocalOption = False,
    model: ModelOption = catalog.DEFAULT_MODEL,
    system: SystemOption = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="PATH", help="A text file to include, or -; repeatable."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option("--image", "-i", metavar="PATH", help="A PNG or JPEG to include; repeatable."),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema", metavar="JSON", help="A JSON schema, or a file with one: the answer is JSON that matches it."
        ),
    ] = None,
    reasoning: ReasoningOption = None,
    stats: StatsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask one question; the answer streams to standard output.

    Exit codes: 0 answered, 1 failed, 2 wrong usage, 130 interrupted.
    """
    if not question and not files:
        if is_terminal(sys.stdin):
            raise InputError(
                'no question: cerebras-demo ask "…", or cerebras-demo chat for a conversation'
            )
        question = STDIN
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": to_content(question, files or [], images or [])})
    asked = read_schema(schema) if schema is not None else None
    wanted = None if asked is None else to_wanted(asked)

    # Here and not above: --help must not wait for aiohttp and LangChain.
    from langchain_cerebras_demo.cli.answer import CUT_OFF, Answer, open_client  # noqa: PLC0415
    from langchain_cerebras_demo.wire.request import ChatRequest  # noqa: PLC0415

    parameters = to_parameters(reasoning_effort=reasoning, response_format=wanted)
    client = open_client(is_local=local_model)
    if client.is_local:
        note_embedded_only(ctx)
    answer = Answer(shows_text=not as_json, shows_reasoning=reasoning is not None and not as_json)
    try:
        answer.ask(client, ChatRequest(model, messages, parameters))
    finally:
        answer.end_reasoning()
        if answer.text and not as_json:
            write_out("\n")
    parsed, problem = (None, None) if asked is None else to_parsed(answer, asked)
    if as_json:
        shaped = {} if asked is None else {"parsed": parsed}
        failed = {} if problem is None else {"error": to_error(problem)}
        write_json({**answer.to_dict(is_local=client.is_local), **shaped, **failed})
    if not answer.text:
        note("the answer is empty")
    if answer.was_cut_off:
        note(CUT_OFF)
    if stats:
        note(answer.stats())
    if problem is not None:
        note(f"the answer does not fit the schema: {problem}")
        raise typer.Exit(EXIT_FAILED)


def to_wanted(schema: dict[str, Any]) -> dict[str, Any]:
    """The response format that asks for answers of this schema.

    Raises:
        InputError: the schema is none, or strict mode cannot do it.
    """
    from langchain_cerebras_demo.wire.schemas.answer_type import to_response_format  # noqa: PLC0415 - pydantic, for few

    try:
        return to_response_format(schema)
    except ValueError as error:
        remedy = str(error).replace("pass strict=False", 'put "strict": false into it')  # the library's words, and ours
        raise InputError(f"--schema: {remedy}") from None


def to_parsed(answer: Any, schema: dict[str, Any]) -> tuple[Any, Exception | None]:
    """The value that an ``Answer`` of this schema stands for, or what is wrong with it."""
    from langchain_cerebras_demo.errors import ModelRefusalError  # noqa: PLC0415 - as above

    if answer.refusal:
        return None, ModelRefusalError(f"the model declined to answer: {answer.refusal}")
    from langchain_cerebras_demo.wire.schemas.answer_type import from_mapping  # noqa: PLC0415 - as above

    try:
        return from_mapping(schema).from_json(json.loads(answer.text)), None
    except ValueError as error:
        return None, error
