"""``cerebras-demo chat``: a conversation, line by line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.failures import EXIT_FAILED, is_debug
from langchain_cerebras_demo.cli.inputs import check_model_name, to_parameters
from langchain_cerebras_demo.cli.options import (
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
from langchain_cerebras_demo.cli.terminal import is_terminal


def chat(
    ctx: typer.Context,
    *,
    local_model: LocalOption = False,
    model: ModelOption = catalog.DEFAULT_MODEL,
    system: SystemOption = None,
    reasoning: ReasoningOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
    stop: StopOption = None,
    options: OtherOptions = None,
    stats: StatsOption = False,
    history: Annotated[
        bool,
        typer.Option("--history/--no-history", help="Save typed lines to the history file."),
    ] = True,
) -> None:
    """Have a conversation with a model. /help shows the commands.

    For a text of several lines, put three double quotes before and after it. Ctrl-C stops an answer, Ctrl-D ends the conversation.
    Exit codes: 0 ended, 1 a request failed (non-interactive), 2 wrong usage.
    """
    check_model_name(model)
    # Here and not above: --help must not wait for aiohttp and LangChain.
    from langchain_cerebras_demo.cli.answer import base_url_of, check_model, open_client  # noqa: PLC0415
    from langchain_cerebras_demo.cli.conversation import COMMANDS, Conversation, Prompt  # noqa: PLC0415

    parameters = to_parameters(
        options or (),
        reasoning_effort=reasoning,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        stop=stop,
    )
    if base_url_of(is_local=local_model) == "local":
        note_embedded_only(ctx, parameters)
    client = open_client(is_local=local_model, needs_key=True)
    check_model(client, model)
    conversation = Conversation(client, model, system, parameters, shows_stats=stats, is_debug=is_debug(ctx))
    with Prompt(COMMANDS, keeps_history=history) as prompt:
        conversation.run(prompt)
    if conversation.failures and not is_terminal(sys.stdin):
        raise typer.Exit(EXIT_FAILED)
