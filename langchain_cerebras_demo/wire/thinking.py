"""Separates ``<think>…</think>`` before an answer's text from the text, also in streams; puts reasoning into sent messages.

Some models, and all with ``reasoning_format="raw"``, write their reasoning into the content. Only a block at the very
beginning counts: a tag further down is part of the text. For some models, the opening tag is part of the prompt, so the
content begins with the reasoning and has only the closing tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

OPENING, CLOSING = "<think>", "</think>"

Replay: TypeAlias = Literal["reasoning", "think_tags"]
"""The form in which a model expects its earlier reasoning; see ``catalog.ReasoningSpec.replay``."""


def with_reasoning(message: Mapping[str, Any], reasoning: str, replay: Replay | None) -> dict[str, Any]:
    """Return an earlier answer with its reasoning in the form that the model expects.

    Args:
        message: The answer as a message in the API's form; it has ``content``.
        reasoning: The reasoning; it may be empty.
        replay: The form, from ``policy.abilities.replay_of``; ``None`` leaves the reasoning out.
    """
    if not reasoning or replay is None:
        return dict(message)
    if replay == "reasoning":
        return {**message, "reasoning": reasoning}
    thought, content = f"{OPENING}{reasoning}{CLOSING}", message["content"]
    tagged = thought + content if isinstance(content, str) else [{"type": "text", "text": thought}, *content]
    return {**message, "content": tagged}


Piece = tuple[Literal["text", "reasoning"], str]


@dataclass(slots=True)
class ThinkSplitter:
    """Splits one choice's content, which arrives in pieces of any size.

    ``is_plain`` says that text has arrived, and that everything after it is text. ``closing_tag_only`` says that the content
    begins with reasoning, with or without an opening tag.
    """

    is_plain: bool = False
    closing_tag_only: bool = False
    _state: Literal["opening", "thinking", "closed"] = "opening"
    _held: str = ""
    _began: bool = False
    _untagged: list[str] | None = None  # the reasoning so far, if no tag has opened it

    def feed(self, content: str) -> list[Piece]:
        """Return the pieces that are certain; what may still become part of a tag is held back."""
        if self.is_plain:
            return [("text", content)] if content else []
        self._held += content
        pieces: list[Piece] = []
        if self._state == "opening":
            pieces += self._open()
        if self._state == "thinking":
            pieces += self._think()
        if self._state == "closed":
            pieces += self._close()
        return pieces

    def finish(self) -> list[Piece]:
        """Return what was held back, at the end of the content: it was not a tag."""
        held, self._held = self._held, ""
        if self._state == "closed" or not held:
            return []
        if self._state == "thinking":
            return self._thought(held)
        return self._rest_is_text(held)

    def take_unclosed(self) -> str:
        """Return the reasoning that no tag has opened or closed: if the content has ended normally, it is the answer."""
        if self._state != "thinking" or not self._untagged:
            return ""
        self.is_plain = True
        return "".join(self._untagged)

    def _open(self) -> list[Piece]:
        start = self._held.lstrip()
        if start.startswith(OPENING):
            self._state, self._held = "thinking", start[len(OPENING) :]
            return []
        if OPENING.startswith(start):  # nothing but white space, or the beginning of the tag
            return []
        if self.closing_tag_only:
            self._state, self._untagged = "thinking", []
            return []
        return self._rest_is_text(self._held)

    def _think(self) -> list[Piece]:
        if not self._began:
            self._held = self._held.lstrip("\n")  # the tag is on its own line
            self._began = bool(self._held)
        thought, tag, rest = self._held.partition(CLOSING)
        if tag:
            self._state, self._held = "closed", rest
            return self._thought(thought)
        kept = _tag_beginning(thought)
        self._held = thought[len(thought) - kept :]
        return self._thought(thought[: len(thought) - kept])

    def _thought(self, thought: str) -> list[Piece]:
        if self._untagged is not None:
            self._untagged.append(thought)
        return [("reasoning", thought)] if thought else []

    def _close(self) -> list[Piece]:
        self._held = self._held.lstrip("\n")  # the blank line between reasoning and answer
        return self._rest_is_text(self._held) if self._held else []

    def _rest_is_text(self, text: str) -> list[Piece]:
        self._held, self.is_plain = "", True
        return [("text", text)]


def _tag_beginning(text: str) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of the closing tag."""
    return next((size for size in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:size])), 0)
