"""A talk: what was said so far, the next answer, and the commands that begin with a slash."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from langchain_cerebras_demo.cli.answering import Answer
from langchain_cerebras_demo.cli.guard import tell
from langchain_cerebras_demo.cli.notes import note
from langchain_cerebras_demo.cli.options import model_names
from langchain_cerebras_demo.cli.prompt import Prompt
from langchain_cerebras_demo.cli.terminal import is_terminal, wrap, write_out
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.errors import ContextOverflowError
from langchain_cerebras_demo.wire.request import ChatRequest, nearest

COMMANDS: Mapping[str, str] = {
    "/help": "this list",
    "/model": "[name]: show the model, or go on with another",
    "/system": "[text]: show what the model is told beforehand, or change it; - takes it away",
    "/clear": "forget what was said",
    "/exit": "end the talk; so does Ctrl-D",
}

_HINTS = (
    '""" begins and ends a text of several lines; so does \\ at the end of a line.',
    "Ctrl-C stops an answer and keeps the talk. // begins a text with a slash.",
)


class Talk:
    """One talk with one client.

    Args:
        client: who answers.
        model: the id or alias that is asked first.
        system: what the model is told beforehand.
        parameters: of every request, as ``to_parameters`` returns them.
        shows_stats: whether every answer is followed by what was measured of it.
        is_debug: whether an error comes with its traceback.
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
        """What was said, in the API's form, without the system message."""
        self._client = client
        self._parameters = parameters
        self._shows_stats = shows_stats
        self._is_debug = is_debug
        self.failures = 0
        """How many questions had an error for an answer."""

    def run(self, prompt: Prompt) -> None:
        """Answers texts until there is no more. Ctrl-C, wherever it comes, ends what is under way and not the talk.

        Raises:
            BrokenPipeError: nobody reads the answers any more.
        """
        if is_terminal(sys.stdin):
            note("/help shows the commands, Ctrl-D ends the talk")
        while True:
            try:
                if not self.take(prompt.read()):
                    prompt.forget_last()
                    return
            except EOFError:
                if is_terminal(sys.stdin):
                    write_out("\n")
                return
            except KeyboardInterrupt:
                write_out("\n")
            except UnicodeDecodeError:
                note("that was no UTF-8 text: nothing was sent")

    def take(self, text: str) -> bool:
        """Answers one text or follows one command; ``False`` where it ends the talk."""
        text = text.strip()
        if text.startswith("/") and not text.startswith("//"):
            name, _, rest = text.partition(" ")
            return self._follow(name, rest.strip())
        if text:
            self._answer(text.removeprefix("/") if text.startswith("//") else text)
        return True

    def _answer(self, text: str) -> None:
        system = [{"role": "system", "content": self.system}] if self.system else []
        question = {"role": "user", "content": text}
        answer = Answer(shows_reasoning=bool(self._parameters.get("reasoning_effort")))
        request = ChatRequest(self.model, [*system, *self.messages, question], self._parameters)
        try:
            answer.ask(self._client, request)
        except KeyboardInterrupt:
            self._end(answer, question)
            note("stopped; the talk goes on")
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the talk goes on
            self.failures += 1
            self._end(answer, question)
            tell(error, is_debug=self._is_debug)
            if isinstance(error, ContextOverflowError):
                note("/clear forgets what was said and makes room")
        else:
            self._end(answer, question)
            if self._shows_stats:
                note(answer.stats())

    def _end(self, answer: Answer, question: dict[str, Any]) -> None:
        """Ends the answer's line. What was shown stays in the talk; a question without an answer is taken back."""
        answer.end_thoughts()
        if answer.text:
            self.messages += [question, {"role": "assistant", "content": answer.text}]
            write_out("\n")
        if answer.was_cut_off:
            note("the answer was cut off at its longest permitted length")

    def _follow(self, name: str, rest: str) -> bool:
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
        elif name == "/clear":
            self.messages.clear()
            note("forgotten")
        else:
            hint = nearest(name, tuple(COMMANDS)) or "."
            note(f"there is no command {name}{hint} /help lists them, // begins a text with /")
        return True

    def _choose_model(self, name: str) -> None:
        if self._client.is_local:
            note("the embedded model is the only one on this machine")
        elif not name:
            note(f"{self.model}; there are {', '.join(model_names())}")
        else:
            try:
                model = self._client.resolve_model(name)
            except ValueError as error:
                note(str(error))
                return
            self.model = name
            note(f"from here on {model} answers")

    def _set_system(self, text: str) -> None:
        if text:
            self.system = None if text == "-" else text
        note(f"the model is told beforehand: {self.system}" if self.system else "the model is told nothing beforehand")
