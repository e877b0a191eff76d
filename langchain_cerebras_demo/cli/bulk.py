"""``cerebras-demo bulk``: answer a file of prompts, and write a file of answers; the progress goes to stderr."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.inputs import STDIN, InputError, copy_stdin, read_schema, to_answer_type, to_parameters
from langchain_cerebras_demo.cli.options import (
    EffortOption,
    JsonOption,
    LocalOption,
    MaxTokensOption,
    ModelOption,
    OtherOptions,
    SeedOption,
    StopOption,
    SystemOption,
    TemperatureOption,
    note_embedded_only,
)
from langchain_cerebras_demo.cli.terminal import note, write_out

_LOCAL_ROWS = 4  # rows that the small model answers at once; the others wait here, where no time-out applies


def bulk(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="Rows: a .csv, .tsv, .jsonl, .json, .txt or .parquet file, also with .gz; - reads standard input.",
        ),
    ],
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="A table with the input's columns and the answers (.csv, .tsv, .json, .parquet), or records (.jsonl).",
        ),
    ],
    *,
    local_model: LocalOption = False,
    model: ModelOption = catalog.DEFAULT_MODEL,
    system: SystemOption = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--prompt", "--template", "-t", metavar="TEXT", help='Prompt with columns: "Is {text} positive?".'
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="JSON", help="A JSON schema, or a file with one, for the answers."),
    ] = None,
    reasoning: EffortOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    stop: StopOption = None,
    options: OtherOptions = None,
    input_format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORMAT", help="Format of INPUT, in place of its suffix: csv, jsonl, txt, ..."
        ),
    ] = None,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", "-c", metavar="N", min=1, help=f"Rows sent at once; at most {_LOCAL_ROWS} with --local."
        ),
    ] = 64,
    requests_per_minute: Annotated[
        float | None,
        typer.Option(
            "--requests-per-minute", metavar="N", help="The account's limit, if the service does not announce it."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TEXT",
            help='Most to spend: "2M tokens", "500 requests", "$5", "by 07:00", or several: "$5, by 07:00".',
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; estimate requests, tokens, cost and time.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an existing output; if there is none, begin it.")
    ] = False,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Write records in the order of the rows; tables always are.")
    ] = False,
    keep_input: Annotated[
        bool, typer.Option("--input/--no-input", help="Include the columns of INPUT in the output.")
    ] = True,
    dedupe: Annotated[
        bool, typer.Option("--dedupe/--no-dedupe", help="Send rows with equal prompts once, and share the answer.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Answer every row of a file. The output is a table with the input's columns and the answers, or a file of records.

    A row has a prompt or messages, or the columns of --prompt; its id is optional. A table is written when the run ends, in the order
    of the rows; until then the answers are in OUTPUT.records.jsonl. Rows that fail are also in OUTPUT.failures.jsonl. Ctrl-C finishes
    the rows in flight; a second one ends the run at once. Either way, --resume continues it.

    Exit codes: 0 all rows answered, 1 refused, stopped, or no row answered, 2 wrong usage or unusable files, 3 some rows
    failed, 130 interrupted.
    """
    asked = read_schema(schema) if schema is not None else None
    if asked is not None:
        to_answer_type(asked)  # an invalid schema is found before the rows are read
    parameters = to_parameters(
        options or (),
        reasoning_effort=reasoning,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        stop=stop,
    )
    if asked is not None and "response_format" in parameters:
        raise InputError("response_format was given twice, by -o and by --schema: use only one")
    with spooled(source, input_format) as rows:
        check_files(rows, output, resume=resume or dry_run, kind=input_format)
        from langchain_cerebras_demo.bulk import bulk as make_run  # noqa: PLC0415 - --help must not wait for it
        from langchain_cerebras_demo.cli.bulk_view import (  # noqa: PLC0415 - as above
            describe_estimate,
            exit_code,
            summary,
            watch,
        )

        if local_model:
            note_embedded_only(ctx)
        chat_model = open_model(
            model, parameters, is_local=local_model, requests_per_minute=requests_per_minute, needs_key=not dry_run
        )
        try:
            run = make_run(
                chat_model,
                rows,
                output=output,
                concurrency=min(concurrency, _LOCAL_ROWS) if local_model else concurrency,
                ordered=ordered,
                template=template,
                system=system,
                schema=asked,
                resume=resume,
                budget=budget,
                keep_input=keep_input,
                dedupe=dedupe,
                format=input_format,
            )
            estimate = run.estimate()
            if dry_run:
                note(describe_estimate(estimate))
                if as_json:
                    facts = {**asdict(estimate), "total_tokens": estimate.total_tokens}
                    write_out(json.dumps(facts, ensure_ascii=False) + "\n")
                raise typer.Exit(0)
            progress = asyncio.run(watch(run, chat_model))
        except ValueError as error:
            raise InputError(str(error)) from None
        for sentence in summary(progress, run):
            note(sentence)
        if as_json:
            failures = str(run.failures_path) if progress.failed else None
            write_out(
                json.dumps({**asdict(progress), "output": output, "failures": failures}, ensure_ascii=False) + "\n"
            )
    raise typer.Exit(exit_code(progress))


@contextmanager
def spooled(source: str, kind: str | None) -> Iterator[str]:
    """Yield the path of the input. Standard input is copied to a temporary file, because the rows are read more than once.

    Raises:
        InputError: standard input without a format, or it cannot be read.
    """
    if source != STDIN:
        yield source
        return
    if kind is None:
        raise InputError("INPUT: - needs --format, such as --format csv: standard input has no suffix")
    with tempfile.TemporaryDirectory(prefix="cerebras-bulk-") as folder:
        path = Path(folder, "standard input")
        with path.open("wb") as file:
            copy_stdin(file)
        yield str(path)


def check_files(source: str, output: str, *, resume: bool, kind: str | None = None) -> None:
    """Check the files before anything is opened or started.

    Raises:
        InputError: the output is standard output, the input is missing, the output cannot be written there or exists already.
    """
    from langchain_cerebras_demo.bulk import BulkInputError, BulkOutputError  # noqa: PLC0415 - --help must not wait
    from langchain_cerebras_demo.bulk.files import open_file  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.bulk.output import check_place, records_path  # noqa: PLC0415 - as above

    if output == STDIN:
        raise InputError("OUTPUT: standard output is not supported, because a run must be resumable: name a file")
    try:
        open_file(source, kind)
        check_place(Path(output), Path(source))
    except (BulkInputError, BulkOutputError) as error:
        raise InputError(str(error)) from None
    for path in (Path(output), records_path(Path(output))):
        if not resume and path.is_file() and path.stat().st_size > 0:
            raise InputError(
                f"the output {str(path)!r} already exists: use --resume to continue it, or name another file"
            )


def open_model(
    name: str,
    parameters: dict[str, Any],
    *,
    is_local: bool,
    requests_per_minute: float | None,
    needs_key: bool = True,
) -> Any:
    """Return the chat model of the command; with ``is_local``, start the embedded model and note that.

    A missing key and a wrong model are found here, before the run. Without ``needs_key`` nothing will be sent, so no key is looked
    up and the embedded model is not started.

    Raises:
        InputError: an invalid limit, or a model that does not exist.
        MissingKeyError: there is no key, and the address needs one.
        LocalServerError, ValueError: the model does not start, or an environment variable is invalid.
    """
    from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit, local  # noqa: PLC0415 - --help must not wait
    from langchain_cerebras_demo.cli.answer import check_model  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.client.client import Client  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.keys.chain import to_key_chain  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.net.endpoint import is_loopback, to_base_url  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.net.portal import portal  # noqa: PLC0415 - as above

    try:
        limit = RateLimit(requests_per_minute=requests_per_minute)
    except ValueError as error:
        raise InputError(f"--requests-per-minute: {error}") from None
    if is_local and needs_key:
        note(f"{local.LOCAL_MODEL} on this machine: a very small model, for trying things out")
        local.shared_server()  # not on the loop's thread, so that Ctrl-C ends the download and the start
    base_url = to_base_url("local" if is_local else None)
    keys = to_key_chain(base_url, is_automatic=True)
    if needs_key and base_url != "local" and not is_loopback(base_url):
        portal.run(keys.resolve)
    if needs_key:
        check_model(Client(base_url=base_url, keys=keys), name)
    at_once = _LOCAL_ROWS if is_local else None
    return ChatCerebrasDemo(
        model=name, base_url=base_url, key_resolver=keys, rate_limit=limit, max_concurrency=at_once, **parameters
    )
