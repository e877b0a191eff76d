"""The conversation of ``cerebras-demo chat``: the prompt that reads the user's texts, the answers, the slash commands.

Texts are edited with GNU readline (libedit on macOS) from the standard library; Windows has neither and gets plain lines.
A pasted text stays together, line feeds included, because readline reads a bracketed paste as one line.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Self

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.answer import Answer, find_model
from langchain_cerebras_demo.cli.failures import note_error
from langchain_cerebras_demo.cli.inputs import InputError
from langchain_cerebras_demo.cli.options import LOCAL_MODEL, model_names
from langchain_cerebras_demo.cli.terminal import count, is_terminal, note, wrap, write_error, write_out
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import ContextOverflowError
from langchain_cerebras_demo.policy.abilities import keep_reasoning, replay_of
from langchain_cerebras_demo.wire.request import ChatRequest, nearest
from langchain_cerebras_demo.wire.thinking import Replay, with_reasoning

readline: Any = None
with contextlib.suppress(ImportError):  # Windows has none
    readline = importlib.import_module("readline")

_QUOTES = '"""'
_FIRST_PROMPT, _NEXT_PROMPT = "> ", ". "
HISTORY_LINES = 1000


class UnfinishedTextError(Exception):
    """The user ended the input (Ctrl-D) within a text of several lines."""


class Prompt:
    """A prompt that reads texts from standard input.

    Args:
        commands: words to complete at the beginning of a line, such as ``/help``.
        keeps_history: whether typed lines are saved in ``history_file()`` for the next conversation.
    """

    def __init__(self, commands: Iterable[str], *, keeps_history: bool = True) -> None:
        self._commands = tuple(commands)
        self._is_interactive = is_terminal(sys.stdin)
        self._keeps_history = keeps_history and self._is_interactive

    def __enter__(self) -> Self:
        if readline is not None and self._is_interactive:
            readline.set_completer(self.complete)
            readline.set_completer_delims(" ")
            is_libedit = "libedit" in (readline.__doc__ or "")
            readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
            if self._keeps_history:
                with contextlib.suppress(OSError, ValueError):  # the file is missing or damaged
                    readline.read_history_file(history_file())
        return self

    def __exit__(self, *_exception: object) -> None:
        if readline is None or not self._is_interactive:
            return
        readline.set_completer(None)
        if self._keeps_history:
            try:
                save_history(history_file())
            except (OSError, RuntimeError) as error:
                note(f"the history could not be saved to {history_file()}: {error}; use --no-history to turn it off")

    def read(self) -> str:
        r"""Return the next text: a line, several lines joined by ``\`` at their ends, or the text between triple quotes.

        The end of a pipe or a file also ends the text.

        Raises:
            EOFError: there is no further text.
            UnfinishedTextError: Ctrl-D in a terminal, before the end of the text.
            KeyboardInterrupt: the user pressed Ctrl-C.
        """
        line = self._line(_FIRST_PROMPT)
        if line.lstrip().startswith(_QUOTES):
            return self._quoted(line.lstrip().removeprefix(_QUOTES))
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            if not self._read_more(lines):
                break
        return "\n".join(lines)

    def forget_last(self) -> None:
        """Remove the last line from the history, so that the arrow key does not show ``/exit`` first next time."""
        if readline is not None and self._is_interactive:
            with contextlib.suppress(ValueError):  # the history is empty
                readline.remove_history_item(readline.get_current_history_length() - 1)

    def complete(self, text: str, state: int) -> str | None:
        """Return the ``state``-th completion of ``text``, for readline."""
        typed: Any = readline.get_line_buffer()[: readline.get_begidx()].split()
        words: Iterable[str] = ()
        if not typed:
            words = self._commands if text.startswith("/") else ()
        elif typed == ["/model"]:
            words = model_names()
        found = [word for word in words if word.startswith(text)]
        return f"{found[state]} " if state < len(found) else None

    def _quoted(self, rest: str) -> str:
        lines = [rest]
        while not lines[-1].rstrip().endswith(_QUOTES):
            if not self._read_more(lines):
                break
        else:
            lines[-1] = lines[-1].rstrip().removesuffix(_QUOTES)
        return "\n".join(lines).strip("\n")

    def _read_more(self, lines: list[str]) -> bool:
        """Append the next line of the text, and return whether there was one."""
        try:
            lines.append(self._line(_NEXT_PROMPT))
        except EOFError:
            if self._is_interactive:
                raise UnfinishedTextError from None
            return False
        return True

    def _line(self, prompt: str) -> str:
        if not self._is_interactive:
            prompt = ""
        elif not is_terminal(sys.stdout):  # `chat | tee file`: the prompt is not part of the answers
            write_error(prompt)
            prompt = ""
        return input(prompt)


def history_file() -> Path:
    """Return the file for typed lines, in the user's state folder (XDG base directory specification).

    Raises:
        RuntimeError: the user has no home folder.
    """
    chosen = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = chosen if chosen.is_absolute() else Path.home() / ".local" / "state"
    return state / "langchain-cerebras-demo" / "chat_history"


def save_history(file: Path) -> None:
    """Save readline's lines to ``file``, readable only by its owner.

    Raises:
        OSError: the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)  # GNU readline does this, libedit may not
    readline.set_history_length(HISTORY_LINES)
    readline.write_history_file(file)


COMMANDS: Mapping[str, str] = {
    "/help": "this list",
    "/model": "[NAME]: show the model, or switch to another",
    "/system": "[TEXT]: show the system prompt, or change it; - removes it",
    "/undo": "forget the last question and its answer",
    "/save": "FILE: write the messages to a new file: Markdown, or JSON if its name ends in .json",
    "/clear": "forget all messages",
    "/exit": "end the chat; so does Ctrl-D",
}

_HINTS = (
    'For several lines, put the text between """ and """, or end each line except the last with \\.',
    "To send a text that begins with /, type //. Ctrl-C stops an answer, and the conversation continues.",
)


class Conversation:
    """A conversation over one client.

    Args:
        client: sends the requests.
        model: model id or alias for the first request.
        system: system prompt.
        parameters: the parameters of every request, from ``to_parameters``.
        shows_stats: whether to show statistics after every answer.
        is_debug: whether errors are shown with their tracebacks.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        system: str | None,
        parameters: Mapping[str, Any],
        *,
        shows_stats: bool = False,
        is_debug: bool = False,
    ) -> None:
        self.model = model
        self.system = system
        self.messages: list[dict[str, Any]] = []
        """The messages so far, without the system message; each answer with its ``reasoning``, which may be empty."""
        self._client = client
        self._parameters = parameters
        self._shows_stats = shows_stats
        self._is_debug = is_debug
        self.failures = 0
        """How many requests failed."""

    def run(self, prompt: Prompt) -> None:
        """Answer texts until there are no more. Ctrl-C stops the current text or answer, but not the conversation.

        Raises:
            BrokenPipeError: the reader of stdout has closed it.
        """
        if is_terminal(sys.stdin):
            note(f"{self._where()}; /help shows the commands, Ctrl-D ends the conversation")
        while True:
            try:
                if not self.handle(prompt.read()):
                    prompt.forget_last()
                    return
            except EOFError:
                if is_terminal(sys.stdin):
                    write_out("\n")
                return
            except UnfinishedTextError:
                write_out("\n")
                note("the text was not finished, so nothing was sent; Ctrl-D at the first prompt ends the conversation")
            except KeyboardInterrupt:
                write_out("\n")
            except UnicodeDecodeError:
                note("the input is not UTF-8 text: nothing was sent")

    def handle(self, text: str) -> bool:
        """Answer one text or run one command; return ``False`` if it ends the conversation."""
        text = text.strip()
        if text.startswith("/") and not text.startswith("//"):
            name, _, rest = text.partition(" ")
            return self._run_command(name, rest.strip())
        if text.lower() in {"exit", "quit"}:
            note("/exit ends the conversation")
        elif text:
            self._answer(text.removeprefix("/") if text.startswith("//") else text)
        return True

    def _answer(self, text: str) -> None:
        question = {"role": "user", "content": text}
        answer = Answer(shows_reasoning=bool(self._parameters.get("reasoning_effort")))
        replay = self._replay()
        messages = [*self._whole(replay), question]
        request = ChatRequest(self.model, messages, keep_reasoning(self._parameters, messages, replay))
        try:
            answer.ask(self._client, request)
        except KeyboardInterrupt:
            self._end(answer, question)
            kept = "the answer so far is kept, /undo forgets it" if answer.text else "the question is forgotten"
            note(f"stopped; {kept}")
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - no error ends the conversation
            self.failures += 1
            self._end(answer, question)
            note_error(error, is_debug=self._is_debug)
            if isinstance(error, ContextOverflowError):
                note("/clear forgets all messages and so makes room for more")
        else:
            self._end(answer, question)
            if self._shows_stats:
                note(answer.stats())

    def _end(self, answer: Answer, question: dict[str, Any]) -> None:
        """End the answer's line. A partial answer is kept; a question without an answer is forgotten."""
        answer.end_reasoning()
        if answer.text:
            self.messages += [question, {"role": "assistant", "content": answer.text, "reasoning": answer.reasoning}]
            write_out("\n")
        if answer.was_cut_off:
            note(answer.cut_off())

    def _run_command(self, name: str, rest: str) -> bool:
        if name == "/exit":
            return False
        if name == "/help":
            for command, what in COMMANDS.items():
                write_out(wrap(what, first=f"{command:8} ", rest=" " * 9) + "\n")
            for hint in _HINTS:
                write_out(wrap(hint) + "\n")
        elif name == "/model":
            self._choose_model(rest)
        elif name == "/system":
            self._set_system(rest)
        elif name == "/undo":
            self._undo()
        elif name == "/save":
            self._save(rest)
        elif name == "/clear":
            self.messages.clear()
            note("Conversation cleared.")
        else:
            hint = nearest(name, tuple(COMMANDS)) or "."
            note(
                f"there is no command {name}{hint} /help lists the commands; to send a text that begins with /, type //"
            )
        return True

    def _choose_model(self, name: str) -> None:
        if self._client.is_local:
            note("the embedded model is the only one on this machine")
        elif not name:
            note(f"{self.model}; available: {', '.join(model_names())}")
        else:
            try:
                model, problem = find_model(self._client, name)
            except InputError as error:
                note(str(error))
                return
            self.model = name
            note(f"Switched to {model}, unchecked ({problem})." if problem else f"Switched to {model}.")

    def _where(self) -> str:
        if self._client.is_local:
            return f"{LOCAL_MODEL} on this machine"
        return f"{self._client.aliases.resolve(self.model)} at {urlsplit(self._client.base_url).netloc}"

    def _undo(self) -> None:
        if not self.messages:
            note("There is nothing to undo.")
            return
        del self.messages[-2:]
        left = count(len(self.messages) // 2, "question")
        note(f"Forgot the last question and its answer; {left} left.")

    def _save(self, name: str) -> None:
        if not name:
            note("/save needs a file name: /save conversation.md")
            return
        if not self.messages:
            note("There is nothing to save.")
            return
        try:
            file = Path(name).expanduser()
            with file.open("x", encoding="utf-8") as opened:
                opened.write(self._to_json() if file.suffix == ".json" else self._to_markdown())
        except FileExistsError:
            note(f"{name!r} already exists: name another file")
        except (OSError, ValueError, RuntimeError) as error:  # a zero byte in the path; a user without a home folder
            note(f"{name!r} could not be written: {getattr(error, 'strerror', None) or error}")
        else:
            note(f"Saved {count(len(self.messages), 'message')} to {name}.")

    def _replay(self) -> Replay | None:
        """Return the form in which earlier reasoning is sent to the model; ``None`` if it is left out."""
        return replay_of(None if self._client.is_local else catalog.find_spec(self._model_id()))

    def _model_id(self) -> str:
        return LOCAL_MODEL if self._client.is_local else self._client.aliases.resolve(self.model)

    def _whole(self, replay: Replay | None = None) -> list[dict[str, Any]]:
        """Return the messages in the API's form, with earlier reasoning in the form ``replay``."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        turns = [
            with_reasoning({"role": turn["role"], "content": turn["content"]}, turn.get("reasoning", ""), replay)
            for turn in self.messages
        ]
        return [*system, *turns]

    def _to_json(self) -> str:
        saved = {"model": self._model_id(), "messages": self._whole(self._replay())}
        return json.dumps(saved, ensure_ascii=False, indent=2) + "\n"

    def _to_markdown(self) -> str:
        return "\n\n".join(f"## {message['role'].title()}\n\n{message['content']}" for message in self._whole()) + "\n"

    def _set_system(self, text: str) -> None:
        if text:
            self.system = None if text == "-" else text
        note(f"System prompt set: {self.system}" if self.system else "There is no system prompt.")
