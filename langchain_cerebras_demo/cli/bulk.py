"""``cerebras-demo bulk``: a file of prompts in, a file of answers out; how far it is on stderr."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.inputs import read_schema
from langchain_cerebras_demo.cli.notes import InputError, note
from langchain_cerebras_demo.cli.options import JsonOption, LocalOption, ModelOption, SystemOption
from langchain_cerebras_demo.cli.terminal import write_out

_LOCAL_ROWS = 4  # the small model answers a few at once; the others wait here, where no time-out counts


def bulk(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A .jsonl, .csv, .tsv or .parquet file of prompts.")],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="A JSONL file for the answers; it must be new.")],
    *,
    local_model: LocalOption = False,
    model: ModelOption = catalog.DEFAULT_MODEL,
    system: SystemOption = None,
    template: Annotated[
        str | None, typer.Option("--template", "-t", help='Makes prompts of columns: "Translate: {text}".')
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="JSON", help="A JSON schema, or a file with one: the answers fit it."),
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Rows asked at once.")] = 64,
    requests_per_minute: Annotated[
        float | None, typer.Option("--requests-per-minute", help="The account's limit, which the service does not say.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help='What may be spent: "2M tokens", "500 requests", or both.')
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an output that is there; where there is none, begin.")
    ] = False,
    ordered: Annotated[bool, typer.Option("--ordered", help="Write the answers in the order of the rows.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask for every row of a file; the answers go to a file, one JSON object a line.

    A row has a prompt or messages, or the columns of the template; its id is optional. Rows that fail go to
    OUTPUT.failures.jsonl. Ctrl-C finishes what is under way; again, it ends at once. Either way --resume goes on.

    Exit codes: 0 all answered, 1 refused or stopped, 2 wrong usage, 3 some rows failed, 130 interrupted.
    """
    asked = read_schema(schema) if schema is not None else None
    from langchain_cerebras_demo.bulk import bulk as make_run  # noqa: PLC0415 - --help must not wait for it
    from langchain_cerebras_demo.cli.bulk_view import exit_code, summary, watch  # noqa: PLC0415 - as above

    chat_model = open_model(model, is_local=local_model, requests_per_minute=requests_per_minute)
    try:
        run = make_run(
            chat_model,
            source,
            output=output,
            concurrency=concurrency,
            ordered=ordered,
            template=template,
            system=system,
            schema=asked,
            resume=resume,
            budget=budget,
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    progress = asyncio.run(watch(run, chat_model))
    for sentence in summary(progress, run):
        note(sentence)
    if as_json:
        failures = str(run.failures_path) if progress.failed else None
        write_out(json.dumps({**asdict(progress), "output": output, "failures": failures}, ensure_ascii=False) + "\n")
    raise typer.Exit(exit_code(progress))


def open_model(name: str, *, is_local: bool, requests_per_minute: float | None) -> Any:
    """The chat model behind the command; with ``is_local`` the embedded one is started and said to be it.

    Raises:
        InputError: a limit that is none.
        LocalServerError, ValueError: the model does not start, or the environment is wrong.
    """
    from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit, local  # noqa: PLC0415 - --help must not wait
    from langchain_cerebras_demo.endpoint import to_base_url  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.keychain import to_key_chain  # noqa: PLC0415 - as above

    try:
        limit = RateLimit(requests_per_minute=requests_per_minute)
    except ValueError as error:
        raise InputError(f"--requests-per-minute: {error}") from None
    if is_local:
        note(f"{local.LOCAL_MODEL} on this machine: a very small model, for trying things out")
        local.shared_server()  # here and not on a thread of the loop, so that Ctrl-C ends the fetch and the start
    base_url = to_base_url("local" if is_local else None)
    keys = to_key_chain(base_url, is_automatic=True)
    at_once = _LOCAL_ROWS if is_local else None
    return ChatCerebrasDemo(model=name, base_url=base_url, key_resolver=keys, rate_limit=limit, max_concurrency=at_once)
