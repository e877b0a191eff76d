"""A secret shows itself to nobody but the header it is for."""

from __future__ import annotations

import copy
import dataclasses
import logging
import pickle

import pytest
from pydantic import SecretStr

from langchain_cerebras_demo.errors import KeyFormatError
from langchain_cerebras_demo.keys import (
    MARK,
    CallableKey,
    ChainKeyResolver,
    DemoKey,
    Secret,
    StaticKey,
    refresh_secret,
    resolve_secret,
)
from langchain_cerebras_demo.keys.secret import QUOTES, HiddenKey, to_key
from tests.support.leaks import all_that_shows

SENTINEL = "csk-never-shown"

# Tests are given the names of these cases alone: a key would stand among the locals of the test's own frame.
REFUSED = {
    "a line break behind it": (SENTINEL + "\n", "line break"),
    "a Windows line break": (SENTINEL + "\r\n", "line break"),
    "a line break in it": ("Bearer\n" + SENTINEL, "line break"),
    "a smuggled header": (SENTINEL + "\r\nX-Evil: 1", "line break"),
    "empty": ("", "is empty"),
    "a character outside ASCII": (SENTINEL + "é", "ASCII"),
    "a space": (SENTINEL + " ", "space"),
    "a tab": ("\t" + SENTINEL, "control character"),
    "a zero byte": (SENTINEL + "\0", "control character"),
    "Bearer in front": ("Bearer " + SENTINEL, '"Bearer" in front of it'),
    "a whole header": (f"Authorization: Bearer {SENTINEL}", '"Bearer" in front of it'),
    **{f"the quote {mark}": (f"{mark}{SENTINEL}{mark}", "quotes around it") for mark in QUOTES},
    "curly quotes": (f"“{SENTINEL}”", "quotes around it"),
    "a quote in front": (f'"{SENTINEL}', "quotes around it"),
    "a quote behind it": (f"{SENTINEL}'", "quotes around it"),
    "quotes and a line break": (f'"{SENTINEL}"\n', "quotes around it and a line break"),
    "a comment behind it": (f"{SENTINEL} # mine", "a comment behind it"),
    "export in front": (f"export CEREBRAS_API_KEY={SENTINEL}", "a variable's name in front of it"),
    "set in front": (f"set CEREBRAS_API_KEY={SENTINEL}", "a variable's name in front of it"),
    "PowerShell's set": (f'$env:CEREBRAS_API_KEY = "{SENTINEL}"', "a variable's name in front of it and quotes"),
    "a variable in front": (f"CEREBRAS_API_KEY={SENTINEL}", "a variable's name in front of it"),
    "a line of a .env file": (f'CEREBRAS_API_KEY="{SENTINEL}" # mine\n', "a comment behind it and a line break"),
    "a SecretStr in quotes": (SecretStr(f"'{SENTINEL}'"), "quotes around it"),
    "bytes": (SENTINEL.encode(), "is a bytes, not a str"),
    "a list": ([SENTINEL], "is a list, not a str"),
    "None": (None, "is a NoneType, not a str"),
    "a SecretStr with a line break": (SecretStr(SENTINEL + "\n"), "line break"),
    "an empty SecretStr": (SecretStr(""), "is empty"),
}


class Holder:
    """A user's resolver, which returns a given value."""

    def __init__(self, key):
        self._key = key

    async def resolve(self):
        return self._key


def test_a_secret_gives_its_value_through_reveal_and_its_header_alone():
    """``reveal`` for the code that needs it, ``bearer`` for the request."""
    secret = Secret(SENTINEL, "api_key")
    assert secret.reveal() == SENTINEL
    assert secret.bearer() == {"Authorization": f"Bearer {SENTINEL}"}
    assert type(secret.bearer()["Authorization"]) is str
    assert secret.source == "api_key"


@pytest.mark.parametrize("value", [SENTINEL, HiddenKey(SENTINEL), DemoKey(SENTINEL)])
def test_no_way_of_printing_shows_a_secret(value, caplog):
    """repr, str, format, containers, dataclasses, logging: a fixed mark, whose length says nothing of the key's."""
    secret = Secret(value, "api_key")
    record = dataclasses.make_dataclass("Record", ["key"])(secret)
    logging.getLogger("test").warning("%s %r", secret, {"key": secret})
    ways = [repr(secret), str(secret), f"{secret}", f"{secret!s:>40}", "%s %r" % (secret, secret)]  # noqa: UP031
    shown = "\n".join([*ways, repr([secret]), repr(record), caplog.text, repr(secret.reveal()), repr(secret.bearer)])
    assert SENTINEL not in shown
    assert repr(secret) == MARK
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled_or_copied(protocol):
    """A key in a pickle lies in a file or in another machine's memory before anybody has thought of it."""
    secret = Secret(SENTINEL, "api_key")
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps({"key": secret}, protocol)
    assert SENTINEL not in all_that_shows(caught.value)
    with pytest.raises(TypeError, match="cannot be pickled"):
        copy.deepcopy(secret)


def test_secrets_match_by_value_and_are_not_equal_by_it():
    """``matches`` is called on purpose; ``==`` would allow guessing a secret by comparing."""
    assert Secret(SENTINEL, "a").matches(Secret(SENTINEL, "b"))
    assert not Secret(SENTINEL, "a").matches(Secret("other", "a"))
    assert Secret(SENTINEL, "a") != Secret(SENTINEL, "a")


@pytest.mark.parametrize("value", [SENTINEL, SecretStr(SENTINEL), "!", "~" * 5000, "a=b==", "it's", "Bearer-1", "a#b"])
def test_a_key_of_visible_ascii_is_taken(value):
    """No length and no prefix is demanded: gateways have keys of their own."""
    assert to_key(value, "api_key").reveal() == (SENTINEL if isinstance(value, SecretStr) else value)


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_key_is_named_by_its_source_and_its_fault(case):
    """The message says which source, what is wrong and what to do, and never shows the key."""
    with pytest.raises(KeyFormatError) as caught:
        to_key(REFUSED[case][0], "MY_SOURCE")
    assert str(caught.value).startswith("the key from MY_SOURCE ")
    assert REFUSED[case][1] in str(caught.value)


STALE = Secret("stale", "api_key")
WAYS = {
    "to_key": lambda case: to_key(REFUSED[case][0], "api_key"),
    "StaticKey": lambda case: StaticKey(REFUSED[case][0]),
    "a callable": lambda case: resolve_secret(CallableKey(lambda: REFUSED[case][0])),
    "a resolver": lambda case: resolve_secret(Holder(REFUSED[case][0])),
    "a chain": lambda case: resolve_secret(ChainKeyResolver([Holder(REFUSED[case][0])])),
    "a refresh": lambda case: refresh_secret(Holder(REFUSED[case][0]), STALE),
    "a chain's refresh": lambda case: refresh_secret(ChainKeyResolver([Holder(REFUSED[case][0])]), STALE),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [case for case in REFUSED if case != "None"])  # a resolver's None is no key at all
async def test_no_traceback_shows_a_refused_key(case, way):
    """Neither text, attributes, causes nor the local variables of any frame, as tracers and debuggers print them."""
    with pytest.raises(KeyFormatError) as caught:
        outcome = WAYS[way](case)
        if hasattr(outcome, "__await__"):
            await outcome
    shown = all_that_shows(caught.value)
    assert f"way = {way!r}" in shown  # the frames are shown with their locals
    assert SENTINEL not in shown


class Refuses(Holder):
    """A user's resolver that cannot give another key."""

    async def refresh(self, stale):
        raise RuntimeError("the vault is closed")


@pytest.mark.parametrize("kind", [str, DemoKey])
@pytest.mark.parametrize("wrap", [lambda source: source, lambda source: ChainKeyResolver([source])])
async def test_no_traceback_of_a_failed_refresh_shows_the_stale_key(kind, wrap):
    """The key that was refused passes through the frames of every source: none of them shows it."""
    with pytest.raises(RuntimeError, match="vault") as caught:
        await refresh_secret(wrap(Refuses(None)), Secret(kind(SENTINEL), "api_key"))
    shown = all_that_shows(caught.value)
    assert "stale" in shown
    assert SENTINEL not in shown


def test_a_demo_key_is_a_str_that_hides_in_repr():
    """It goes into a header like any str, and shows a mark where it is a local variable."""
    key = DemoKey(SENTINEL)
    assert key == SENTINEL
    assert f"Bearer {key}" == f"Bearer {SENTINEL}"
    assert SENTINEL not in repr([key])
    assert Secret(key, "cookies").demo
    assert not Secret(SENTINEL, "api_key").demo


class Wrapping(Holder):
    """A user's resolver around another: it asks, keeps and hands on."""

    async def resolve(self):
        self.kept = await self._key.resolve()
        return self.kept


@pytest.mark.parametrize("depth", [0, 1, 3])
async def test_a_demo_key_keeps_its_mark_through_a_users_own_resolver(depth):
    """The mark is on the value, so it cannot be lost on the way to the rule that binds it to cerebras.ai."""
    resolver = Holder(DemoKey(SENTINEL))
    for _ in range(depth):
        resolver = ChainKeyResolver([Wrapping(resolver)])
    secret = await resolve_secret(resolver)
    assert secret.demo
    assert isinstance(secret.reveal(), DemoKey)


async def test_a_demo_key_keeps_its_mark_through_a_refresh():
    """The second key of a session is bound as the first one was."""
    secret = await refresh_secret(ChainKeyResolver([Holder(DemoKey(SENTINEL))]), Secret("stale", "cookies"))
    assert secret.demo


async def test_a_demo_key_keeps_its_mark_as_a_given_api_key():
    """Even if a user takes it from a session and passes it as ``api_key``."""
    assert (await resolve_secret(StaticKey(DemoKey(SENTINEL)))).demo
    assert (await resolve_secret(copy.deepcopy(StaticKey(DemoKey(SENTINEL))))).demo


# -- what an answer repeats

LONG = "csk-0123/456+789"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Bearer {LONG}, {LONG}", f"Bearer {MARK}, {MARK}"),
        (LONG.replace("/", "\\/"), MARK),
        ("?key=csk-0123%2F456%2B789&a=b", f"?key={MARK}&a=b"),
        # an answer that breaks off
        (f"no {LONG[:-1]}", f"no {MARK}"),
        (f"no {LONG[:8]}", f"no {MARK}"),
        (f"no {LONG[:8]}{LONG[:9]}", f"no {LONG[:8]}{MARK}"),
        (f"no {LONG[:7]}", f"no {LONG[:7]}"),
        (f"no {LONG[:12]} more", f"no {LONG[:12]} more"),
        ("", ""),
    ],
)
def test_a_key_is_hidden_in_what_an_answer_repeats(text, shown):
    """Unchanged, as JSON escapes it and as in a URL; also if the text ends in the middle of it."""
    assert Secret(LONG, "api_key").hide(text.encode()).decode() == shown


def test_a_key_whose_letters_repeat_is_hidden_where_a_text_breaks_off():
    """From its first letter on, however often its beginning comes again."""
    assert Secret("a" * 40 + "b", "api_key").hide(b"no " + b"a" * 30).decode() == f"no {MARK}"


@pytest.mark.parametrize("placeholder", ["x", "0", "null", "q", "EMPTY", "dummy", "c" * 7])
def test_a_placeholder_for_a_key_hides_nothing(placeholder):
    """It is not a secret, and ordinary words contain its letters."""
    text = f"Bearer {placeholder}: context_length_exceeded 0 q x null".encode()
    assert Secret(placeholder, "api_key").hide(text) == text
