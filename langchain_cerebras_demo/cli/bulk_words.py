"""Messages of bulk runs in the words of the command line: options instead of arguments and settings."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_cerebras_demo.cli.inputs import option_of

_OPTIONS = {
    "model.model": "--model",
    "model.model_name": "--model",
    "template": "--prompt",
    "system": "--system",
    "schema": "--schema",
}

_BUDGET = "budget.usd="
_USE_A_TEMPLATE = "Use a template to make prompts from other columns"


def to_command_line(message: str) -> str:
    """Return a message of the library with the options of the command line."""
    _, found, columns = message.partition("the columns are ")
    if found and message.endswith(_USE_A_TEMPLATE):
        names = [name.strip("' ") for name in columns.partition(". ")[0].split(",")]
        name = next((name for name in names if name != "id"), names[0])
        return message.replace(_USE_A_TEMPLATE, f'Say what to ask with --prompt "What is {{{name}}}?"')
    return message.replace(_BUDGET, "--budget $", 1) if message.startswith(_BUDGET) else message


def other_settings(output: str, changed: Sequence[tuple[str, str, str]]) -> str:
    """Return the message for an output that was made with other settings.

    Args:
        output: the output file.
        changed: the name of each changed setting, its former and its present value, as they are shown.
    """
    of_address = next((one for one in changed if one[0] == "model.base_url"), None)
    if of_address is not None and '"local"' in of_address:
        how, remedy = ("with", "add") if of_address[1] == '"local"' else ("without", "leave out")
        return f"the output {output!r} was made {how} --local: {remedy} --local, or name another output"
    sentences = dict.fromkeys(_sentence(*one) for one in changed)
    return f"the output {output!r} was made with other settings: {'; '.join(sentences)}. Use the same, or name another output"


def _sentence(name: str, before: str, now: str) -> str:
    if name.startswith("schema."):
        return "--schema was another one"
    return f"{_option(name)} was {before} and is {now}"


def _option(name: str) -> str:
    if name in _OPTIONS:
        return _OPTIONS[name]
    area, _, parameter = name.partition(".")
    if area != "model":
        return name
    return "CEREBRAS_BASE_URL" if parameter == "base_url" else option_of(parameter.partition(".")[0])
