"""All commands: sentences instead of tracebacks, exit codes, hidden keys, a fast ``--help``."""

from __future__ import annotations

import json
import signal
import sys

import pytest
import typer

from langchain_cerebras_demo import keys
from langchain_cerebras_demo.cli import failures
from langchain_cerebras_demo.cli.inputs import InputError
from langchain_cerebras_demo.errors import APIConnectionError, MissingKeyError
from langchain_cerebras_demo.testing import Silence
from tests.support.processes import run_python

KEY = "csk-never-shown-0123456789"
MINE = {"ask", "chat", "models", "keys", "doctor"}
HEAVY = {"aiohttp", "langchain_core", "langsmith", "orjson", "pydantic", "readline", "rich", "xllamacpp"}


def fail(error, *, is_debug):
    """The exit code after an error inside the guard, with a secret in a local variable."""
    secret = KEY  # noqa: F841 - a traceback with locals would show it
    with pytest.raises(typer.Exit) as ended, failures.guard(is_debug=is_debug):
        raise error
    return ended.value.exit_code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("--file: no"), 2, "cerebras-demo: --file: no\n"),
        (OSError(28, "No space left on device"), 1, "cerebras-demo: OSError: [Errno 28] No space left on device\n"),
        (
            RuntimeError("odd"),
            1,
            "cerebras-demo: RuntimeError: odd (unexpected; cerebras-demo --debug … shows the traceback)\n",
        ),
        (
            APIConnectionError("no route."),
            1,
            "cerebras-demo: APIConnectionError: no route. `cerebras-demo doctor` looks for the cause; --local needs no network once its model is downloaded.\n",
        ),
        (KeyboardInterrupt(), 130, "cerebras-demo: interrupted\n"),
    ],
)
def test_every_error_is_a_sentence_and_an_exit_code(capsys, error, code, said):
    """For any exception."""
    assert fail(error, is_debug=False) == code
    assert capsys.readouterr().err == said


def test_debug_shows_where_without_locals_and_without_keys(capsys, monkeypatch):
    """The key of the environment in any form, and everything that looks like a key."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "a key of no known kind")
    words = f"{KEY}, 'a key of no known kind', Bearer abc.def, http://user:password@proxy:3128/"
    assert fail(RuntimeError(words), is_debug=True) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "test_failures.py" in said
    assert "http://**********@proxy:3128/" in said
    assert not any(secret in said for secret in (KEY, "no known kind", "abc.def", "password"))


def test_for_a_program_an_error_is_a_json_object_too(capsys, monkeypatch):
    """On stdout, with keys hidden."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "a key of no known kind")
    with pytest.raises(typer.Exit), failures.guard(is_debug=False, is_json=lambda: True):
        raise OSError("a key of no known kind")
    said = capsys.readouterr()
    assert json.loads(said.out) == {"error": {"type": "OSError", "message": failures.HIDDEN}}
    assert said.err == f"cerebras-demo: OSError: {failures.HIDDEN}\n"


def test_a_key_of_a_few_letters_hides_no_words(monkeypatch):
    """It is not a key, and its letters occur in many words."""
    monkeypatch.setenv("CEREBRAS_API_KEY", "x")
    assert failures.hide_secrets("extras") == "extras"
    monkeypatch.setenv("CEREBRAS_API_KEY", "12345678")
    assert failures.hide_secrets("=12345678") == f"={failures.HIDDEN}"


def test_a_missing_key_is_said_once_and_for_the_command_line(capsys):
    """A chain within a chain names its sources twice."""
    tried = [("CEREBRAS_API_KEY", "not set"), ("browser session", "none")]
    assert fail(MissingKeyError("pass api_key=…", tried=[*tried, tried[0]]), is_debug=False) == 1
    said = capsys.readouterr().err
    assert "no key was found (CEREBRAS_API_KEY: not set; browser session: none). Set CEREBRAS_API_KEY" in said
    assert "--local" in said
    assert "api_key=" not in said


def test_what_typer_raises_goes_through():
    """Usage errors are typer's to word."""
    with pytest.raises(typer.BadParameter), failures.guard(is_debug=False):
        raise typer.BadParameter("no")
    with pytest.raises(typer.Exit) as ended, failures.guard(is_debug=False):
        raise typer.Exit(7)
    assert ended.value.exit_code == 7


def test_the_guard_knows_the_names_that_keys_uses():
    """They are repeated there, so that an error shows even where `keys` cannot be imported."""
    assert (failures.HIDDEN, failures.KEY_VARIABLE) == (keys.MARK, keys.API_KEY_VARIABLE)


def test_debug_is_an_option_of_all_commands(server, run):
    """A refused key, with the log and the traceback, and without the key."""
    wrong = "csk-wrong-0123456789abcdef"
    done = run("--debug", "ask", "hi", CEREBRAS_API_KEY=wrong)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "AuthenticationError: 401" in done.stderr
    assert "failed (AuthenticationError)" in done.stderr
    assert wrong not in done.stderr
    assert "Traceback" not in run("ask", "hi", CEREBRAS_API_KEY=wrong).stderr


# -- no key, no reader, Ctrl-C


@pytest.mark.parametrize(
    "arguments", [["ask", "hi"], ["chat"], ["models", "--all"], ["models", "--remote"], ["keys"], ["doctor"]]
)
def test_a_reader_that_has_gone_is_no_traceback(start, arguments):
    """`cerebras-demo … | true`."""
    process = start(*arguments, piped=True)
    process.stdout.close()
    process.stdin.write(b"hi\n")
    process.stdin.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["ask", "hi"], "/v1/chat/completions"),
        (["models", "--remote"], "/v1/models"),
        (["doctor"], "/public/v1/models"),
        (["doctor"], "/v1/chat/completions"),
    ],
)
def test_ctrl_c_while_the_service_is_silent(server, start, arguments, path):
    """Exit code 130 and a word."""
    server.script_path(path, Silence(before_headers=True))
    process = start(*arguments)
    asked = 2 if arguments == ["doctor"] and path.endswith("completions") else 1
    assert server.wait_for_requests(asked, 30)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == b"cerebras-demo: interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_while_standard_input_is_read(start):
    """Nothing was sent yet."""
    process = start("ask", "-", piped=True)
    process.stdin.write(b"a" * 1_000_000)  # no pipe holds that much: it is written once somebody reads
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"cerebras-demo: interrupted\n")


def test_ctrl_c_while_modules_are_loaded():
    """Before there is a command to see to it."""
    done = run_python(
        """
        import langchain_cerebras_demo.__main__ as command
        def run():
            raise KeyboardInterrupt
        command.run = run
        command.main()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_without_the_extra_it_says_what_to_install():
    """typer is no dependency of the library."""
    done = run_python("import sys; sys.modules['typer'] = None; import langchain_cerebras_demo.__main__ as m; m.main()")
    assert done.returncode == 1
    assert done.stderr == 'The command line needs the "cli" extra: pip install "langchain-cerebras-demo[cli]"\n'


# -- quick answers

LOADED = """
import json, sys
sys.argv = ["cerebras-demo", *sys.argv[1:]]
from langchain_cerebras_demo.__main__ import main
try:
    main()
except SystemExit:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["ask", "--help"], ["chat", "--help"], ["doctor", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy_and_is_plain_text(arguments):
    """It costs what typer costs: 0.1 s of CPU."""
    done = run_python(LOADED, *arguments, flags=("-W", "error"))
    loaded = {module.partition(".")[0] for module in json.loads(done.stderr)}
    assert "typer" in loaded
    of_typer = {"pydantic"} if len(arguments) > 1 else set()  # some releases check options with it, where it is there
    assert loaded & HEAVY <= of_typer
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["What is rain?"], 'To ask: cerebras-demo ask "What is rain?"'),
        (["ask", "-5 + 3"], "Put -- in front of a question that begins with a dash."),
        (["ask", "--debug", "hi"], "--debug goes in front of the command: cerebras-demo --debug ask"),
        (["ask", "What", "is"], "Put text of several words in quotes"),
        (["chat", "Hi"], 'cerebras-demo ask "Hi"'),
        (["models", "foo"], "models takes options only"),
        (["ask", "hi", "--temperature", "hot"], "--temperature hot: give a number from 0 to 2\n"),
        (["ask", "hi", "--max-tokens", "many"], "--max-tokens many: give a whole number, 1 or more (-1: no limit)"),
        (["ask", "hi", "-o", "top_p=hot"], "-o top_p=hot: give a number from 0 to 1"),
        (["ask", "hi", "--local", "-r", "banana"], "--reasoning banana: give one of none, low, medium, high"),
        (["ask", "hi", "--local", "-i", "x.png"], "--image: the embedded model reads text only: leave out --local"),
    ],
)
def test_wrong_usage_gets_advice_in_the_words_of_the_command_line(run, arguments, advice):
    """Exit code 2."""
    done = run(*arguments)
    assert done.returncode == 2
    assert advice in done.stderr


def test_an_image_for_a_model_that_reads_text_is_wrong_usage(server, run, tmp_path):
    """Nothing is sent."""
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run("ask", "hi", "-i", tmp_path / "x.png")
    assert (done.returncode, done.stderr.startswith("cerebras-demo: --image: gpt-oss-120b reads text only: use")) == (
        2,
        True,
    )
    done = run("ask", "hi", "-i", tmp_path / "x.png", CEREBRAS_BASE_URL="local")
    assert (done.returncode, "--image: the embedded model reads text only" in done.stderr) == (2, True)
    assert server.requests == []


def test_an_invalid_address_is_wrong_usage(run):
    """The variable is named, not the class of the error."""
    done = run("ask", "hi", CEREBRAS_BASE_URL="nonsense")
    assert (done.returncode, done.stderr.startswith("cerebras-demo: CEREBRAS_BASE_URL='nonsense'")) == (2, True)


def test_a_server_that_wants_a_key_where_none_was_sent_says_so(server, run):
    """An address on this machine needs no key at first."""
    done = run("ask", "hi", CEREBRAS_API_KEY="")
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    assert done.returncode == 1
    assert f"401: the server at {host} wants a key, and none was sent: set CEREBRAS_API_KEY.\n" in done.stderr
    assert "sent without one" in run("keys", CEREBRAS_API_KEY="").stdout


def test_help_lists_every_command_in_one_line_each(run):
    """Under the name that was typed."""
    shown = run("--help").stdout
    assert shown.startswith("Usage: cerebras-demo [OPTIONS] COMMAND")
    listed = dict(line.split(maxsplit=1) for line in shown.partition("Commands:\n")[2].splitlines())
    assert listed.keys() >= MINE
    assert not [name for name in MINE if listed[name].endswith("...")]
