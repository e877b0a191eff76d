"""The pytest plug-in: pytest finds the fixture itself, and only tests that use it load it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo, testing
from langchain_cerebras_demo.testing import Reply
from tests.support.processes import environment

pytest_plugins = ["pytester"]

PLUGIN = "langchain_cerebras_demo.testing.plugin"
PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCKS = re.findall(
    r'^```python(?: title="(\w+)\.py")?\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
STRICT = ["-p", "no:cacheprovider", "-W", "error", "--strict-markers"]
ASYNCIO = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
ALONE = ["-p", "langchain_cerebras_demo", "-p", "asyncio"]  # the names of the entry points


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs pytest in a process and a folder of its own, with this plug-in, and with pytest-asyncio for asynchronous tests.

    ``all_plugins``: with every plug-in that is installed, found as by a user. It takes a second more.
    """
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    pytester.makeini("[pytest]")  # else the settings of a project in a folder above would count

    def run(*arguments: str, all_plugins: bool = False, **files: str) -> pytest.RunResult:
        pytester.makepyfile(**files)
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "" if all_plugins else "1")
        alone = [] if all_plugins else ALONE
        return pytester.runpytest_subprocess(*STRICT, *ASYNCIO, *alone, *arguments, timeout=120)

    return run


# -- found and paid for


def test_pytest_finds_the_plug_in_by_its_entry_point():
    """Nobody has to switch it on; the name is the one that ``-p no:`` takes."""
    found = {entry.name: entry.value for entry in metadata.entry_points(group="pytest11")}
    assert found["langchain_cerebras_demo"] == PLUGIN


def test_the_plug_in_loads_nothing_that_pytest_has_not_loaded():
    """Who has the package installed and does not use the fixture waits for no server, no LangChain and no client."""
    code = f"""
import json, sys
import pytest
before = set(sys.modules)
import {PLUGIN}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    ours = "langchain_cerebras_demo"
    assert {name for name in json.loads(done.stdout) if name.partition(".")[0] != ours} == set()
    assert {name for name in json.loads(done.stdout) if name.partition(".")[0] == ours} == {
        ours,
        f"{ours}._version",
        f"{ours}.testing",
        PLUGIN,
    }


def test_the_names_of_the_loopback_are_loaded_when_they_are_used():
    """``__all__`` and what a type checker sees are the same; each name is found in its module, and no other name is."""
    tree = ast.parse(Path(testing.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(testing.__all__) == sorted(imported)
    for name, home in imported.items():
        assert getattr(testing, name) is getattr(import_module(home), name)
        assert name in dir(testing)
    with pytest.raises(AttributeError, match=r"has no attribute 'LoopBack'"):
        testing.LoopBack  # noqa: B018 - looking it up is the test


# -- what the fixture does


def test_a_model_made_during_the_test_talks_to_the_loopback(loopback_cerebras):
    """Without an address and a key of its own: both come from the environment, as the code under test has them."""
    loopback_cerebras.script(Reply("from the fixture"))
    assert ChatCerebrasDemo().invoke("Hi").content == "from the fixture"
    assert [request.bearer for request in loopback_cerebras.requests] == [loopback_cerebras.key]


@pytest.mark.loopback_cerebras(key="csk-chosen-0123456789", models=["mine"])
def test_the_marker_gives_the_servers_settings(loopback_cerebras):
    """By the names of LoopbackCerebras's arguments."""
    assert loopback_cerebras.key == "csk-chosen-0123456789"
    assert [model["id"] for model in ChatCerebrasDemo().list_models()] == ["mine"]


def test_each_test_has_a_server_and_a_key_of_its_own_and_leaves_nothing_behind(run):
    """No script, request, limit, variable, port or thread of one test reaches the next one."""
    result = run(
        test_it="""
        import os, socket, threading
        import pytest
        from langchain_cerebras_demo.testing import Reply

        seen = []

        @pytest.mark.parametrize("turn", range(2))
        def test_each(turn, loopback_cerebras):
            assert loopback_cerebras.requests == []
            assert loopback_cerebras.unused_steps == 0
            loopback_cerebras.script(Reply("never asked for"))
            assert os.environ["CEREBRAS_BASE_URL"] == loopback_cerebras.base_url
            assert os.environ["CEREBRAS_API_KEY"] == loopback_cerebras.key
            seen.append((loopback_cerebras.port, loopback_cerebras.key))

        def test_after():
            assert len({key for _, key in seen}) == 2
            assert not {"CEREBRAS_BASE_URL", "CEREBRAS_API_KEY"} & set(os.environ)
            assert not [thread for thread in threading.enumerate() if "loopback" in thread.name]
            for port, _ in seen:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), timeout=5)
        """
    )
    result.assert_outcomes(passed=3)


def test_a_wrong_marker_is_an_error_that_says_so(run):
    """Settings go by name, and unknown ones are refused."""
    result = run(
        test_it="""
        import pytest

        @pytest.mark.loopback_cerebras(0.1)
        def test_position(loopback_cerebras): ...

        @pytest.mark.loopback_cerebras(lateness=0.1)
        def test_name(loopback_cerebras): ...
        """
    )
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*accepts settings by name, like latency=0.1; got (0.1,)*", "*'lateness'*"])


# -- what the page says


def test_the_pages_example_passes_under_strict_markers_and_strict_warnings(run):
    """The very files that the page shows, in a folder of a user's own."""
    files = {name: text for name, text in BLOCKS if name}
    assert sorted(files) == ["summary", "test_summary"]
    run(**files, all_plugins=True).assert_outcomes(passed=4)


def test_the_page_shows_the_way_without_pytest(capsys):
    """Its block runs."""
    [block] = [text for name, text in BLOCKS if not name]
    exec(compile(block, "docs/testing.md", "exec"), {})
    assert capsys.readouterr().out == "Hello.\n"


def test_without_the_plug_in_there_is_no_such_fixture(run, pytester):
    """`-p no:` takes it out by the name that the page gives; `-p` with the module's name takes it in."""
    test = {"test_it": "def test_it(loopback_cerebras): ..."}
    pytester.makepyfile(**test)
    result = pytester.runpytest_inprocess(*STRICT, *ASYNCIO, "-p", "no:langchain_cerebras_demo")
    result.stdout.fnmatch_lines(["*fixture 'loopback_cerebras' not found*"])
    run("-p", "no:langchain_cerebras_demo", "-p", PLUGIN, **test).assert_outcomes(passed=1)
