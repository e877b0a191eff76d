"""``cerebras-demo ask``: one question; the answer goes to stdout."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.failures import EXIT_FAILED, to_error
from langchain_cerebras_demo.cli.inputs import (
    InputError,
    check_model_name,
    read_schema,
    to_answer_type,
    to_content,
    to_parameters,
)
from langchain_cerebras_demo.cli.options import (
    JsonOption,
    LocalOption,
    MaxTokensOption,
    ModelOption,
    OtherOptions,
    ReasoningOption,
    SeedOption,
    StatsOption,
    StopOption,
    SystemOption,
    TemperatureOption,
    note_embedded_only,
)
from langchain_cerebras_demo.cli.terminal import is_terminal, note, write_json, write_out


def ask(
    ctx: typer.Context,
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="The question; piped text goes in front of it.")
    ] = "",
    *,
    local_model: LocalOption = False,
    model: ModelOption = catalog.DEFAULT_MODEL,
    system: SystemOption = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="PATH", help="A text file to include, or - for the pipe; repeatable."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option("--image", "-i", metavar="PATH", help="A PNG or JPEG to include, or - for the pipe; repeatable."),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="JSON",
            help="A JSON schema, or a file with one: prints the answer as JSON that matches it.",
        ),
    ] = None,
    reasoning: ReasoningOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    stop: StopOption = None,
    options: OtherOptions = None,
    extract: Annotated[
        bool, typer.Option("--extract", "-x", help="Print only the code of the answer's first code block.")
    ] = False,
    stats: StatsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask one question; the answer streams to standard output.

    With --schema, --extract or --json, it is printed when it is complete.
    Exit codes: 0 answered, 1 failed, 2 wrong usage, 130 interrupted.
    """
    check_model_name(model)
    if not question and not files and is_terminal(sys.stdin):
        raise InputError('no question: cerebras-demo ask "…", or cerebras-demo chat for a conversation')
    if extract and schema is not None:
        raise InputError("use either --extract or --schema: an answer that matches a schema has no code block")
    asked = read_schema(schema) if schema is not None else None
    answer_type, response_format = (None, None) if asked is None else to_answer_type(asked)
    parameters = to_parameters(
        options or (),
        reasoning_effort=reasoning,
        response_format=response_format,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        stop=stop,
    )
    # Here and not above: --help must not wait for aiohttp and LangChain.
    from langchain_cerebras_demo.cli.answer import Answer, base_url_of, open_client  # noqa: PLC0415
    from langchain_cerebras_demo.cli.code_block import first_code_block  # noqa: PLC0415
    from langchain_cerebras_demo.wire.request import ChatRequest  # noqa: PLC0415

    is_embedded = base_url_of(is_local=local_model) == "local"
    if is_embedded and images:
        raise InputError("--image: the embedded model reads text only: leave out --local, or the image")
    if is_embedded:
        note_embedded_only(ctx, parameters)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": to_content(question, files or [], images or [])})
    client = open_client(is_local=local_model)
    streams = not as_json and not extract and asked is None
    answer = Answer(shows_text=streams, shows_reasoning=reasoning is not None and not as_json)
    try:
        answer.ask(client, ChatRequest(model, messages, parameters))
    finally:
        answer.end_reasoning()
        if answer.text and streams:
            write_out("\n")
    code = first_code_block(answer.text) if extract else None
    parsed, problem = (None, None) if asked is None else parse(answer, answer_type)
    if as_json:
        shaped = ({} if asked is None else {"parsed": parsed}) | ({"code": code} if extract else {})
        failed = {} if problem is None else {"error": to_error(problem)}
        write_json({**answer.to_dict(is_local=client.is_local), **shaped, **failed})
    elif asked is not None and problem is None:
        write_json(parsed)
    elif not streams and answer.text:
        write_out(code if code is not None else f"{answer.text}\n")
    if not answer.text:
        note("the answer is empty")
    elif extract and code is None:
        note("the answer has no code block, so all of it was printed")
    if answer.was_cut_off:
        note(answer.cut_off())
    if stats:
        note(answer.stats())
    if problem is not None:
        note(str(problem))
        raise typer.Exit(EXIT_FAILED)


def parse(answer: Any, answer_type: Any) -> tuple[Any, Exception | None]:
    """Return the value of an ``Answer``, or the error if it has none, with the messages of ``with_structured_output``."""
    from langchain_cerebras_demo.errors import ModelRefusalError  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.wire.schemas.reading import UnfitAnswerError, explain, read_text  # noqa: PLC0415

    if answer.refusal:
        return None, ModelRefusalError(f"the model refused to answer: {answer.refusal}")
    try:
        return read_text(answer.text, answer_type), None
    except UnfitAnswerError as error:
        remedy = "ask for a shorter answer" + (" or use a lower --reasoning" if answer.reasoning else "")
        return None, UnfitAnswerError(explain(str(error), answer.text, answer.finish_reason, remedy))
