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
from langchain_cerebras_demo.cli.inputs import (
    STDIN,
    InputError,
    check_model_name,
    copy_stdin,
    read_schema,
    to_answer_type,
    to_count,
    to_parameters,
    to_positive,
)
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

_LOCAL_ROWS = 4  # rows that the small model answers at once; the others wait here, where no timeout applies


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
        str,
        typer.Option(
            "--concurrency", "-c", metavar="N", help=f"Rows sent at once; at most {_LOCAL_ROWS} with --local."
        ),
    ] = "64",
    requests_per_minute: Annotated[
        str | None,
        typer.Option(
            "--requests-per-minute", metavar="N", help="The account's limit, if the service does not announce it."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TEXT",
            help="Most to spend: '2M tokens', '500 requests', '$5', 'by 07:00', or several: '$5, by 07:00'. In single quotes: the "
            "shell replaces $5 in double ones.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; estimate requests, tokens, cost and time.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an existing output; if there is none, begin it.")
    ] = False,
    ordered: Annotated[
        bool,
        typer.Option(
            "--ordered", help="Put a .jsonl OUTPUT in the order of the rows when the run ends; tables always are."
        ),
    ] = False,
    keep_input: Annotated[
        bool, typer.Option("--input/--no-input", help="Include the columns of INPUT in the output.")
    ] = True,
    dedupe: Annotated[
        bool, typer.Option("--dedupe/--no-dedupe", help="Send rows with equal prompts once, and share the answer.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Answer every row of a file, and write a table.

    The table has the input's columns and the answers; a .jsonl OUTPUT has a record per row. A row has a prompt or messages, or the columns of --prompt; its id is optional. A table is written when the run ends, in the order
    of the rows; until then the answers are in OUTPUT.records.jsonl. Rows that fail are also in OUTPUT.failures.jsonl. Ctrl-C finishes
    the rows in flight; a second one ends the run at once. Either way, --resume continues it. OUTPUT.records.jsonl and
    OUTPUT.journal are only needed by --resume, and can be deleted when the run is complete.

    Exit codes: 0 all rows answered, 1 refused, stopped, or no row answered, 2 wrong usage or unusable files, 3 some rows
    failed, 130 interrupted.
    """
    check_model_name(model)
    asked = read_schema(schema) if schema is not None else None
    if asked is not None:
        to_answer_type(asked)  # an invalid schema is found before the rows are read
    at_once = to_count(concurrency, "--concurrency")
    a_minute = None if requests_per_minute is None else to_positive(requests_per_minute, "--requests-per-minute")
    check_budget(budget)
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
    from langchain_cerebras_demo.cli.answer import base_url_of  # noqa: PLC0415 - --help must not wait for it

    base_url = base_url_of(is_local=local_model)
    with spooled(source, input_format) as rows:
        check_files(rows, output, resume=resume or dry_run, kind=input_format)
        from langchain_cerebras_demo.bulk import bulk as make_run  # noqa: PLC0415 - --help must not wait for it
        from langchain_cerebras_demo.bulk.errors import BulkSettingsError  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.bulk.files import open_file  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.bulk.rows import Prompts  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.bulk.sources import survey  # noqa: PLC0415 - as above
        from langchain_cerebras_demo.cli.bulk_view import (  # noqa: PLC0415 - as above
            describe_estimate,
            exit_code,
            summary,
            watch,
        )
        from langchain_cerebras_demo.cli.bulk_words import other_settings, to_command_line  # noqa: PLC0415 - as above

        if resume:
            check_address(output, base_url)
        if base_url == "local":
            note_embedded_only(ctx, parameters)
        chat_model = open_model(
            model, parameters, base_url=base_url, requests_per_minute=a_minute, needs_key=not dry_run
        )
        try:
            run = make_run(
                chat_model,
                rows,
                output=output,
                concurrency=min(at_once, _LOCAL_ROWS) if base_url == "local" else at_once,
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
            note_constant_prompt(template, rows, input_format)
            if dry_run:  # a run does this itself before it sends anything
                survey(open_file(rows, input_format), Prompts(template).why_not)
            estimate = run.estimate()
            if dry_run:
                note(describe_estimate(estimate))
                if as_json:
                    facts = {**asdict(estimate), "total_tokens": estimate.total_tokens}
                    write_out(json.dumps(facts, ensure_ascii=False) + "\n")
                raise typer.Exit(0)
            progress = asyncio.run(watch(run, chat_model))
        except BulkSettingsError as error:
            raise InputError(other_settings(output, error.changed)) from None
        except ValueError as error:
            raise InputError(to_command_line(str(error))) from None
        for sentence in summary(progress, run, output):
            note(sentence)
        if as_json:
            failures = str(run.failures_path) if progress.failed else None
            write_out(
                json.dumps({**asdict(progress), "output": output, "failures": failures}, ensure_ascii=False) + "\n"
            )
    raise typer.Exit(exit_code(progress))


def check_budget(text: str | None) -> None:
    """Check a budget.

    Raises:
        InputError: it is not one.
    """
    from langchain_cerebras_demo.bulk import Budget  # noqa: PLC0415 - --help must not wait for it

    try:
        Budget.from_value(text)
    except ValueError:
        raise InputError(
            f"--budget {text!r} is not a budget: give '2M tokens', '500 requests', '$5' or 'by 07:00', or several with commas. "
            "Use single quotes: in double quotes the shell replaces $5."
        ) from None


def check_address(output: str, base_url: str) -> None:
    """Check early that an output of the embedded model is resumed with it, before a missing key is reported.

    The run itself compares all settings.

    Raises:
        InputError: the output was made with the embedded model and now another one is asked, or the reverse.
    """
    from langchain_cerebras_demo.bulk.output import records_path  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.cli.bulk_words import other_settings  # noqa: PLC0415 - as above

    records = records_path(Path(output))
    try:
        with Path(f"{output}.journal").open("rb") as file:
            before = json.loads(file.readline())["settings"]["model"]["base_url"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if "local" in (before, base_url) and before != base_url and records.is_file() and records.stat().st_size:
        changed = ("model.base_url", json.dumps(before), json.dumps(base_url))
        raise InputError(other_settings(output, [changed]))


def note_constant_prompt(template: str | None, source: str, kind: str | None) -> None:
    """Note that a template has no column, so that all rows have the same prompt."""
    from langchain_cerebras_demo.bulk.files import open_file  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.bulk.rows import Prompts  # noqa: PLC0415 - as above

    first = None if template is None or Prompts(template).names else next(iter(open_file(source, kind).rows()), None)
    if first is not None:
        columns = ", ".join(first.columns or ())
        note(f"the template has no {{column}}: all rows get the same prompt (the columns are {columns})")


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
    base_url: str,
    requests_per_minute: float | None,
    needs_key: bool = True,
) -> Any:
    """Return the chat model of the command. If ``base_url`` is ``local``, start the embedded model and note that.

    A missing key and a wrong model are found here, before the run. Without ``needs_key`` nothing will be sent, so no key is looked
    up and the embedded model is not started.

    Raises:
        InputError: a model that does not exist.
        MissingKeyError: there is no key, and the address needs one.
        LocalServerError, ValueError: the model does not start, or an environment variable is invalid.
    """
    from langchain_cerebras_demo import ChatCerebrasDemo, RateLimit, local  # noqa: PLC0415 - --help must not wait
    from langchain_cerebras_demo.cli.answer import check_model  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.client.client import Client  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.keys.chain import to_key_chain  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.net.endpoint import is_loopback  # noqa: PLC0415 - as above
    from langchain_cerebras_demo.net.portal import portal  # noqa: PLC0415 - as above

    limit = RateLimit(requests_per_minute=requests_per_minute)
    is_embedded = base_url == "local"
    if is_embedded and needs_key:
        note(f"{local.LOCAL_MODEL} on this machine: a very small model, for trying things out")
        local.shared_server()  # not on the loop's thread, so that Ctrl-C ends the download and the start
    keys = to_key_chain(base_url, is_automatic=True)
    if needs_key and not is_embedded and not is_loopback(base_url):
        portal.run(keys.resolve)
    if needs_key:
        check_model(Client(base_url=base_url, keys=keys), name)
    at_once = _LOCAL_ROWS if is_embedded else None
    return ChatCerebrasDemo(
        model=name, base_url=base_url, key_resolver=keys, rate_limit=limit, max_concurrency=at_once, **parameters
    )
