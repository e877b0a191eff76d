"""``cerebras-demo models``: the catalogue as a table, or the service's list."""

from __future__ import annotations

import json
import sys
from datetime import date
from urllib.parse import urlsplit

import pytest

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cli.models import refresh_catalog, to_cells, to_row
from langchain_cerebras_demo.errors import CerebrasError
from langchain_cerebras_demo.testing import LoopbackCerebras, RawAnswer

in_a_terminal = [
    pytest.mark.filterwarnings("ignore:.*forkpty.*:DeprecationWarning"),  # pexpect's, from Python 3.12 on
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind"),
]


def ids(table):
    return [line.split()[0] for line in table.splitlines()[1:]]


@pytest.mark.quick
def test_the_table_names_what_is_served(run, server):
    """Ids, aliases, windows, prices, life; no request is made."""
    done = run("models", fresh=True)
    head, first, *_ = done.stdout.splitlines()
    assert head.split() == ["Model", "Aliases", "Context", "Answer", "$", "in", "$", "out", "Status"]
    assert first.split() == [
        "gpt-oss-120b",
        "gpt-oss",
        "65,536",
        "-",
        "131,000",
        "32,768",
        "-",
        "40,000",
        "0.35",
        "0.75",
        "live",
    ]
    assert "retired" not in done.stdout
    assert done.stderr.endswith("retired models are not shown; use --all to see them\n")
    assert (done.returncode, server.requests) == (0, [])


def test_all_adds_the_retired_ones_and_what_to_use_instead(run):
    """With the day, and no white space at the end of a line."""
    done = run("models", "--all")
    assert ids(done.stdout) == list(catalog.model_specs())
    assert "retired 2026-05-27, use gpt-oss-120b" in done.stdout
    assert done.stderr == ""
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


def test_json_is_a_list_of_what_the_catalogue_knows(run):
    """With ISO dates."""
    rows = {row["id"]: row for row in json.loads(run("models", "--all", "--json").stdout)}
    assert list(rows) == list(catalog.model_specs())
    old = rows["llama3.1-8b"]
    assert (old["aliases"], old["life"], old["retired_on"]) == (["llama-3.1-8b"], "retired", "2026-05-27")
    assert rows["gpt-oss-120b"]["price_usd_per_million_tokens"] == {"input": 0.35, "output": 0.75}


def test_remote_lists_what_the_key_may_use(run, server):
    """Known or not."""
    with LoopbackCerebras(models=["gpt-oss-120b", "my-own"], key=server.key) as mine:
        done = run("models", "--remote", CEREBRAS_BASE_URL=mine.base_url)
        assert ids(done.stdout) == ["gpt-oss-120b", "my-own"]
        assert done.stdout.splitlines()[-1].split("  ")[0] == "my-own"
        assert done.stdout.count("not known") == 4
        assert [request.path for request in mine.requests] == ["/v1/models"]


def test_refresh_updates_the_catalogue_and_saves_only_the_list_of_cerebras(run, tmp_path):
    """No key is needed. The list of another server affects one run, and a note says so."""
    with LoopbackCerebras(models=["gpt-oss-120b", "brand-new"]) as mine:
        settings = {"CEREBRAS_BASE_URL": mine.base_url, "CEREBRAS_DEMO_CACHE": str(tmp_path / "cache")}
        assert "brand-new" not in ids(run("models", fresh=True, **settings).stdout)
        done = run("models", "--refresh", fresh=True, **settings)
        assert "brand-new" in ids(done.stdout)
        assert f"the list of {urlsplit(mine.base_url).netloc} was not saved: only that of cerebras.ai is" in done.stderr
        assert not (tmp_path / "cache").exists()
        assert [(request.path, request.bearer) for request in mine.requests] == [("/public/v1/models", None)]


def test_refresh_needs_the_service(run):
    """The embedded model has no list, and is not started for one."""
    done = run("models", "--refresh", CEREBRAS_BASE_URL="local")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--refresh needs the service's list of models, but CEREBRAS_BASE_URL is local: unset it\n" in done.stderr


def test_a_list_that_cannot_be_saved_is_a_sentence(server, monkeypatch, tmp_path):
    """The path is a file."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("CEREBRAS_DEMO_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("CEREBRAS_BASE_URL", server.base_url)
    monkeypatch.setattr(
        "langchain_cerebras_demo.client.client.takes_demo_key", lambda _url: True
    )  # as if it were cerebras.ai
    with pytest.raises(CerebrasError, match="the list of models could not be saved: "):
        refresh_catalog()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[1]", "not a list of models"),
        (b'{"data": [1]}', "a row without an id"),
        (b'{"data": [{"id": 7}]}', "a row without an id"),
    ],
)
def test_an_answer_that_is_no_list_of_models_is_a_sentence(run, server, body, said):
    """Exit code 1."""
    server.script_path("/v1/models", RawAnswer(body=body))
    done = run("models", "--remote")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_key_is_a_sentence(run):
    """And no table; an error object for programs."""
    done = run("models", "--remote", CEREBRAS_API_KEY="csk-wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("cerebras-demo: AuthenticationError: 401")
    done = run("models", "--remote", "--json", CEREBRAS_API_KEY="csk-wrong")
    assert (done.returncode, json.loads(done.stdout)["error"]["type"]) == (1, "AuthenticationError")
    assert "array" in run("models", "--help").stdout


def test_a_model_on_its_way_out_says_until_when():
    """And which one takes its place."""
    row = to_row("llama3.1-8b", date(2026, 5, 1))
    assert to_cells(row)[-1] == "deprecated, until 2026-05-27, use gpt-oss-120b"


class TestInATerminal:
    """A window may be any width."""

    pytestmark = in_a_terminal

    def test_where_columns_do_not_fit_a_row_is_a_block(self, terminal, end):
        """20 columns."""
        said, code = end(terminal("models", columns=20))
        lines = said.splitlines()
        assert code == 0
        assert max(map(len, lines)) <= 20
        assert lines[:3] == ["gpt-oss-120b", "  Aliases: gpt-oss", "  Context: 65,536 -"]

    @pytest.mark.parametrize(
        ("variables", "is_bold"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
    )
    def test_the_head_is_bold_where_that_is_wanted(self, terminal, end, variables, is_bold):
        """80 columns hold the table."""
        said, _ = end(terminal("models", **variables))
        assert ("\x1b[1m" in said) == is_bold
        assert ("\x1b" in said) == is_bold
        assert "65,536 - 131,000  32,768 - 40,000" in said
