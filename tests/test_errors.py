"""The exception tree: what the docstring draws is what the classes are, and what LangChain takes them for."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest
from langchain_core import exceptions as langchain

import langchain_cerebras_demo
from langchain_cerebras_demo import errors
from tests.support.announcements import announce

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, errors.CerebrasError)
}
LANGCHAIN = {
    kind for kind in vars(langchain).values() if inspect.isclass(kind) and issubclass(kind, langchain.ModelError)
}


class Row(NamedTuple):
    """One line of the drawing."""

    parent: str | None
    status: str | None
    langchain: str | None


def drawn_tree():
    """The drawing in the module's docstring: three columns a level, the LangChain class behind the dot."""
    rows, parents = {}, []
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+Error)(?: \((\w{3})\))?(?: +· (?:LangChain's )?(\w+))?", line)
        if found:
            depth = len(found[1]) // 3
            parents[depth:] = [found[2]]
            rows[found[2]] = Row(parents[depth - 1] if depth else None, found[3], found[4])
    return rows


TREE = {name: row for name, row in drawn_tree().items() if name != "OriginalError"}  # which is never raised
each_class = pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES.keys())


def core_classes(kind):
    """The nearest classes of LangChain's that this one is."""
    found = [base for base in kind.__mro__ if base in LANGCHAIN]
    return [base for base in found if not any(base is not other and issubclass(other, base) for other in found)]


# -- the tree


def test_the_drawing_holds_every_exception_and_all_shows_them():
    """No class without a line, no line without a class."""
    assert set(TREE) == set(CLASSES)
    assert set(errors.__all__) == {*CLASSES, "ErrorResponse", "OriginalError", "is_retryable"}


@each_class
def test_every_class_stands_where_it_is_drawn(kind):
    """Under its one parent, with the status and the LangChain class behind its name."""
    row = TREE[kind.__name__]
    ours = [base.__name__ for base in kind.__bases__ if base in CLASSES.values()]
    assert ours == ([row.parent] if row.parent else [])
    direct = [base.__name__ for base in kind.__bases__ if base in LANGCHAIN]
    if row.langchain == "ModelError" or kind is errors.CerebrasError:
        assert core_classes(kind) == [langchain.ModelError]
    else:
        assert direct == ([row.langchain] if row.langchain else [])
    if row.status:
        assert str(kind.status_code) == row.status.replace("xx", "00")
    assert kind.__doc__


@pytest.mark.upstream
def test_every_condition_that_langchain_knows_has_a_class_of_ours():
    """Middleware that catches theirs catches ours."""
    covered = {base for kind in CLASSES.values() for base in kind.__bases__}
    missing = sorted(kind.__name__ for kind in LANGCHAIN - covered)
    assert not missing, (
        f"langchain_core.exceptions has gained {', '.join(missing)}: give each a class in langchain_cerebras_demo/errors.py, "
        "in the drawing at its top and in docs/reference/errors.md"
    )


def test_a_refusal_is_langchains_own_error_whatever_its_version():
    """`ModelRefusalError` where langchain-core has it, from 1.7.5 on; the error of its parsers before."""
    theirs = getattr(langchain, "ModelRefusalError", langchain.OutputParserException)
    error = pickle.loads(pickle.dumps(errors.ModelRefusalError("no", raw_message="message")))
    assert isinstance(error, theirs)
    assert isinstance(error, errors.CerebrasError)
    assert (str(error), error.raw_message, error.is_retryable) == ("no", "message", False)


@pytest.mark.parametrize("kind", [errors.APIConnectionError, errors.APITimeoutError, errors.StreamInterruptedError])
def test_a_failure_of_the_line_is_pythons_connection_error_too(kind):
    """`except ConnectionError` is what people write; `errno` and the rest of an `OSError` stay empty."""
    error = kind("the line is down")
    assert isinstance(error, ConnectionError)
    assert isinstance(error, TimeoutError) == (kind is errors.APITimeoutError)
    assert (str(error), error.args) == ("the line is down", ("the line is down",))
    assert error.errno is error.strerror is error.filename is None


def test_a_refused_request_is_a_value_error_and_one_of_a_wrong_type_a_type_error_too():
    """`except ValueError` and `except TypeError` are what people write."""
    assert issubclass(errors.InvalidRequestError, ValueError)
    assert issubclass(errors.InvalidRequestTypeError, TypeError)
    assert not issubclass(errors.InvalidRequestError, TypeError)


def test_errors_imports_of_langchain_its_exceptions_alone():
    """They are light; everything else of LangChain is not, and is imported for type checkers at most."""
    tree = ast.parse(Path(errors.__file__).read_text(encoding="utf-8"))
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert {
        name for name in imported if name.startswith("lang") and not name.startswith("langchain_cerebras_demo")
    } == {"langchain_core.exceptions"}


def test_the_main_ones_stand_at_the_top():
    """What most people catch needs no second import."""
    for name in ("CerebrasError", "APIError", "APIStatusError", "RateLimitError", "MissingKeyError"):
        assert getattr(langchain_cerebras_demo, name) is CLASSES[name]


# -- may a fresh call succeed?

RETRYABLE = {
    "APIConnectionError",
    "APITimeoutError",
    "StreamInterruptedError",
    "RateLimitError",
    "QueueFullError",
    "InternalServerError",
}


@each_class
def test_is_retryable_is_what_langchain_says_of_the_condition(kind):
    """Middleware retries by this answer alone."""
    assert kind("m").is_retryable is (kind.__name__ in RETRYABLE)
    assert {base.is_retryable for base in core_classes(kind)} == {kind.__name__ in RETRYABLE}


@pytest.mark.parametrize(("status", "retryable"), [(408, True), (409, True), (405, False), (413, False), (429, False)])
def test_a_status_without_a_class_says_itself_whether_it_may_pass(status, retryable):
    """408 and 409 are tried again by the vendors' SDKs too."""
    assert errors.APIStatusError("m", status_code=status).is_retryable is retryable


def test_is_retryable_asks_the_error_and_knows_pythons_own_failures_of_a_line():
    """As a function, for retry policies; whatever else was raised is a bug and is not tried again."""
    for kind in CLASSES.values():
        assert errors.is_retryable(kind("m")) is kind("m").is_retryable
    assert errors.is_retryable(langchain.ModelRateLimitError("of another model"))
    assert not errors.is_retryable(langchain.ModelAuthenticationError("of another model"))
    for passing in (ConnectionResetError(), TimeoutError()):
        assert errors.is_retryable(passing)
    for bug in (ValueError(), OSError(), RuntimeError(), KeyboardInterrupt()):
        assert not errors.is_retryable(bug)


# -- what they hold


def every_detail(kind):
    """An exception of this class with everything that it can hold."""
    if issubclass(kind, errors.APIStatusError):
        error = kind(
            "message",
            status_code=418,
            code="c",
            type="t",
            param="p",
            request_id="r",
            retry_after=1.5,
            limits=announce(requests_day=(5,)),
            body={"message": "m"},
            response=errors.ErrorResponse(418, {"server": "s"}, '{"message": "m"}'),
        )
    elif kind is errors.MissingKeyError:
        error = kind("message", tried=[("environment", "not set")])
    elif kind is errors.APIResponseValidationError:
        error = kind("message", status_code=200)
    else:
        error = kind("message")
    if isinstance(error, errors.APIError):
        error.partial, error.attempts = "half an ans", 3
    return error


def shown(error):
    fields = {
        name: vars(value) if isinstance(value, errors.ErrorResponse) else value for name, value in vars(error).items()
    }
    return type(error), error.args, str(error), error.is_retryable, fields


@each_class
def test_an_exception_survives_pickle_and_copy_with_all_it_holds(kind):
    """It travels between processes, and queues and tracers copy it."""
    error = every_detail(kind)
    assert error.args == ("message",)
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for other in (*copies, copy.copy(error), copy.deepcopy(error)):
        assert shown(other) == shown(error)


@each_class
def test_a_message_stays_under_2000_characters(kind):
    """A log line, not a dump; what fits is not touched."""
    assert str(kind("m" * 1999)) == "m" * 1999
    for length in (2000, 2001, 10**6):
        text = str(kind("m" * length))
        assert len(text) == 1999
        assert text.endswith("m …")
    assert str(kind()) == ""


def test_an_error_that_no_call_has_raised_counts_no_request():
    """A call sets the number of its requests; nothing had arrived, unless it says otherwise."""
    error = errors.APIConnectionError("m")
    assert (error.partial, error.attempts) == (None, 0)


def test_what_the_service_said_stands_under_its_own_names():
    """What it was given, and `None` for what it was not."""
    error, empty = every_detail(errors.BadRequestError), errors.APIStatusError("m")
    said = {"code": "c", "type": "t", "param": "p", "request_id": "r", "retry_after": 1.5, "body": {"message": "m"}}
    for name, value in said.items():
        assert getattr(error, name) == value
        assert getattr(empty, name) is None
    assert (error.limits, empty.limits) == (announce(requests_day=(5,)), None)
    assert (error.response.status_code, empty.response) == (418, None)
    assert (error.status_code, empty.status_code) == (418, 0)
    assert errors.APIResponseValidationError("m", status_code=200).status_code == 200
    assert errors.APIResponseValidationError("m").status_code is None


def test_a_status_error_without_a_status_has_its_classes():
    """Each class knows its own."""
    assert errors.RateLimitError("m").status_code == 429
    assert errors.BadRequestError("m", status_code=413).status_code == 413
    assert errors.BadRequestError.status_code == 400


def test_what_was_tried_for_a_key_is_kept_in_its_order():
    """As pairs that cannot change."""
    tried = [("cookies", "none given"), ("environment", "not set")]
    error = errors.MissingKeyError("m", tried=tried)
    tried.clear()
    assert error.tried == (("cookies", "none given"), ("environment", "not set"))


def test_an_error_response_is_what_tracers_read():
    """Status, headers, text and JSON, detached from what they were made of; the text stays out of `repr`."""
    headers = {"server": "s"}
    response = errors.ErrorResponse(500, headers, '{"message": "m"}')
    headers["server"] = "other"
    assert (response.status_code, response.headers, response.text) == (500, {"server": "s"}, '{"message": "m"}')
    assert response.json() == {"message": "m"}
    assert repr(response) == "<ErrorResponse 500>"
    with pytest.raises(ValueError, match="Expecting value"):
        errors.ErrorResponse(502, {}, "<html>").json()


# -- the cause in place of another library's exception


def hide(text):
    return text.replace(b"secret", b"***")


def raised(error, cause=None):
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def test_a_cause_has_the_type_and_the_message_of_the_original():
    """The system's message always, Python's where the key can be removed from it, another library's never."""
    refused = ConnectionRefusedError(111, "Connection refused")
    for hider in (None, hide):
        assert str(errors.OriginalError.of(refused, hider)) == "ConnectionRefusedError: [Errno 111] Connection refused"
    assert str(errors.OriginalError.of(ValueError("a secret"), hide)) == "ValueError: a ***"
    assert str(errors.OriginalError.of(ValueError("a secret"))) == "ValueError"
    assert str(errors.OriginalError.of(TimeoutError("a secret"))) == "TimeoutError"
    theirs = langchain.OutputParserException("a secret")
    assert str(errors.OriginalError.of(theirs, hide)) == "langchain_core.exceptions.OutputParserException"
    assert len(str(errors.OriginalError.of(ValueError("m" * 10**6), hide))) < 400


def test_causes_of_causes_are_kept_and_a_ring_of_them_ends():
    """Each as its type and message."""
    outer = raised(KeyError("b"), raised(ValueError("a")))
    original = errors.OriginalError.of(outer, hide)
    assert (str(original), str(original.__cause__)) == ("KeyError: 'b'", "ValueError: a")
    assert original.__cause__.__cause__ is None
    outer.__cause__.__cause__ = outer
    assert str(errors.OriginalError.of(outer, hide)) == "KeyError: 'b'"


def test_a_cause_keeps_the_lines_and_not_the_variables():
    """They are shown where the key can be removed, and nothing of the frames otherwise."""

    def fail(words):
        raise ValueError(words)

    def failed():
        try:
            fail("se" + "cret")
        except ValueError as error:
            return error

    shown = traceback.TracebackException.from_exception(errors.OriginalError.of(failed(), hide), capture_locals=True)
    assert "raise ValueError(words)" in "".join(shown.format())
    assert "words =" not in "".join(shown.format())
    assert errors.OriginalError.of(failed()).__traceback__ is None
