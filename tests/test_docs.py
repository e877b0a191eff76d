"""The pages of docs/ are true: names, links and arguments exist, code runs, pictures are those that the scripts draw."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import logging
import os
import re
import runpy
import subprocess
import sys
import unicodedata
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

import langchain_cerebras_demo as package
from langchain_cerebras_demo import bulk, errors, testing

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
NAME = package.__name__

FENCE = re.compile(
    r"^(?P<before><!-- not run: .+ -->\n)?```(?P<kind>\w+)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)
DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)

# Others' pages: the pytest example of the first runs in tests/testing, the second is written by the tests of faults.
NOT_RUN = {"testing.md", "faults.md"}

ELSEWHERE = {"mkdocs.yml": ROOT / "mkdocs.yml", "scripts": ROOT / "scripts"}


def needs(name):
    """The wheel is tested in a folder that holds the pages and not what makes the site of them."""
    return pytest.mark.skipif(not ELSEWHERE[name].exists(), reason=f"{name} is not here: run from a source tree")


def blocks_of(page):
    return [match for match in FENCE.finditer(PAGES[page]) if match["kind"] == "python"]


def prose_of(page):
    """The page without its code: a link or a heading within it is none."""
    return re.sub(r"`[^`\n]+`(?!\])", "", FENCE.sub("", PAGES[page]))


def directives_of(page):
    return set(DIRECTIVE.findall(FENCE.sub("", PAGES[page])))


REFERENCE = set().union(*(directives_of(page) for page in PAGES if page.startswith("reference")))


# -- the reference


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (NAME, package.__all__),
        (f"{NAME}.errors", errors.__all__),
        (f"{NAME}.bulk", bulk.__all__),
        (f"{NAME}.testing", testing.__all__),
    ],
)
def test_every_public_name_is_in_the_reference(module, names):
    """By one of its addresses: `errors.APIError` is also `APIError` of the package."""
    shown = {find(identifier) for identifier in REFERENCE}
    absent = [name for name in names if name != "__version__" and find(f"{module}.{name}") not in shown]
    assert absent == []


@pytest.mark.parametrize(
    "page", sorted(page for page in PAGES if page.startswith("reference/") and directives_of(page))
)
def test_the_index_of_the_reference_names_what_each_page_shows(page):
    """In the page's row. Subclasses of an error that the row names are left out, and the many steps for tests."""
    [row] = [line for line in PAGES["reference/index.md"].splitlines() if f"]({Path(page).name}) |" in line]
    named = set(re.findall(r"`([^`]+)`", row))
    shown = {identifier.rpartition(".")[2] for identifier in directives_of(page)}
    if page == "reference/testing.md":
        shown = {"LoopbackCerebras", "LoopbackModel", "Quota"}
    elsewhere = {"bulk": "run_bulk", "load_ipython_extension": "%%ask"}
    errors_shown = {name for name in shown if name.endswith("Error") and name not in {"CerebrasError", "OriginalError"}}
    assert {elsewhere.get(name, name) for name in shown - errors_shown} - named == set()


def find(identifier):
    """What stands there, made comparable: constants by their address."""
    module, _, name = identifier.rpartition(".")
    value = getattr(import_module(module), name)
    return value if inspect.isclass(value) or inspect.isfunction(value) else identifier


def test_the_version_is_in_the_reference():
    """It is a str, and has nothing that a directive could show."""
    assert f"`{NAME}.__version__`" in PAGES["reference/index.md"]


def test_what_the_reference_shows_explains_itself():
    """A class or a function without a docstring would be an empty section."""
    assert len(REFERENCE) > 60
    for identifier in REFERENCE:
        value = find(identifier)
        assert isinstance(value, str) or inspect.getdoc(value), identifier


def test_every_error_is_in_the_troubleshooting():
    """By its name, as a heading."""
    headings = set(HEADING.findall(PAGES["troubleshooting.md"]))
    raised = [name for name in (*errors.__all__, *bulk.__all__) if name.endswith("Error")]
    bases = {"CerebrasError", "APIError", "BulkError", "ErrorResponse", "OriginalError"}  # never raised as such
    assert [name for name in raised if name not in bases and name not in headings] == []


# -- environment variables

# Where a name is not a constant of the module: the variables behind it. Our own need no entry: their names are found as texts.
COMPUTED_VARIABLES = {
    "keys/sources.py": set(),
    "net/aiohttp_transport.py": {"SSL_CERT_FILE", "SSL_CERT_DIR"},
    "net/proxies.py": {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"},
}


def variables_read_by(path):
    """Return the variables that a module reads by constant names or names in a text of its own, and whether it reads others."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = ".".join([NAME, *path.relative_to(Path(package.__file__).parent).with_suffix("").parts])
    names, computes = set(), False
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and re.fullmatch(r"CEREBRAS_[A-Z_]+", str(node.value)):
            names.add(node.value)
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.environ.get", "os.environ.pop", "os.getenv"}:
            name = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            name = node.slice
        else:
            continue
        if isinstance(name, ast.Constant):
            names.add(name.value)
        elif isinstance(name, ast.Name) and name.id.isupper():
            names.add(getattr(import_module(module), name.id))
        else:
            computes = True
    return names, computes


def test_the_page_of_variables_lists_those_that_the_code_reads():
    """All of them and no others; internal ones too."""
    folder = Path(package.__file__).parent
    found = {str(path.relative_to(folder).as_posix()): variables_read_by(path) for path in sorted(folder.rglob("*.py"))}
    assert {path for path, (_, computes) in found.items() if computes} == set(COMPUTED_VARIABLES)
    read = set().union(*(names for names, _ in found.values()), *COMPUTED_VARIABLES.values())
    cells = [line.split("|")[1] for line in PAGES["reference/environment.md"].splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == read


def test_the_page_on_traces_lists_every_attribute_and_metric():
    """As `telemetry.py` names them; a name that is put together there is given in another form."""
    source = (Path(package.__file__).parent / "telemetry.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"((?:gen_ai|cerebras|server|error|http)\.[a-z0-9_.]*[a-z])"', source))
    assert len(names) > 40
    assert {name for name in names if f"`{name}`" not in PAGES["how-to/observability.md"]} - {
        "gen_ai.client.operation"
    } == set()


# -- links


def slug(heading):
    """As Python-Markdown makes an anchor of a heading."""
    plain = re.sub(r"[`*_]", lambda mark: mark[0] if mark[0] == "_" else "", heading)
    plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def anchors_of(page):
    return {slug(heading) for heading in HEADING.findall(FENCE.sub("", PAGES[page]))} | directives_of(page)


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page):
    """To a page or a picture of docs/, and to a heading or a name of it; nothing is asked of the network."""
    for target in LINK.findall(prose_of(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (DOCS / page).parent.joinpath(path).resolve() if path else DOCS / page
        assert found.is_file(), f"{page}: {target}"
        assert found.is_relative_to(DOCS.resolve()), f"{page}: {target} leads out of the site"
        if anchor:
            assert anchor in anchors_of(str(found.relative_to(DOCS.resolve()))), f"{page}: {target}"


@needs("mkdocs.yml")
def test_the_navigation_names_pages_that_are_there_and_leaves_none_out():
    """But for the pages that a run writes later."""
    settings = ELSEWHERE["mkdocs.yml"].read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = set(re.findall(r"^ +- (?:[^#\n]*: )?(\S+\.md)$", settings, re.MULTILINE))
    assert {page for page in named if page not in PAGES} == set()
    assert {page for page in PAGES if page not in named and not page.startswith("benchmarks/")} == set()


# -- code


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_every_python_block_compiles(page):
    """With `await` at the top level, as in a notebook."""
    for block in blocks_of(page):
        compile(block["code"], page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def asks_the_embedded_model(page):
    return any('"local"' in block["code"] or "LocalServer" in block["code"] for block in blocks_of(page))


PAGES_RUN = [
    pytest.param(page, marks=pytest.mark.xdist_group("embedded") if asks_the_embedded_model(page) else ())
    for page in PAGES
    if blocks_of(page) and page not in NOT_RUN
]


@pytest.mark.parametrize("page", PAGES_RUN)
@pytest.mark.usefixtures("brief_model")
async def test_every_python_block_runs(page, loopback_cerebras, monkeypatch, tmp_path, capsys):
    """Those of a page one after the other, on the loopback Cerebras or, where they say so, on the embedded model."""
    blocks = [block["code"] for block in blocks_of(page) if not block["before"]]
    if asks_the_embedded_model(page) and not importlib.util.find_spec("xllamacpp"):
        pytest.skip("the embedded model is not installed: the extra `local`")
    if any("langchain.agents" in code for code in blocks):
        base = pytest.importorskip("langchain.chat_models.base")
        monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", dict(base._BUILTIN_PROVIDERS))
    for module in ("fastapi", "prometheus_client", "opentelemetry.sdk"):
        if any(f"from {module}" in code for code in blocks):
            pytest.importorskip(module, reason=f"{module} is not installed: the dependency group `test`")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    with surroundings(blocks, monkeypatch):
        for code in blocks:
            result = eval(compile(code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace)
            if inspect.isawaitable(result):
                await result
    assert capsys.readouterr().out


@contextmanager
def surroundings(blocks, monkeypatch):
    """A collector for a page that exports spans, which has to receive them; and levels of logs as before."""
    logger = logging.getLogger(NAME)
    monkeypatch.setattr(logger, "level", logger.level)
    if not any("OTLPSpanExporter" in code for code in blocks):
        yield
    else:
        with import_module("tests.support.otel").Collector.running() as collector:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            yield
            assert {path for path, _ in collector.bodies} == {"/v1/traces", "/v1/metrics"}
    logger.manager._clear_cache()


def test_a_block_that_is_not_run_says_why():
    """The mark is a comment in front of it, and rare."""
    marked = [block for page in PAGES for block in blocks_of(page) if block["before"]]
    assert len(marked) <= 3


COMMAND = re.compile(r"^(?:.*\| )?(?:\S*/)?cerebras-demo (\w+)(.*)$", re.MULTILINE)


def test_every_command_and_option_of_a_shell_block_exists():
    """As the command line itself knows them."""
    commands = pytest.importorskip("typer").main.get_command(import_module(f"{NAME}.cli").app).commands
    blocks = [
        match["code"] for page in PAGES for match in FENCE.finditer(PAGES[page]) if match["kind"] in {"sh", "bash"}
    ]
    shown = [found for block in blocks for found in COMMAND.findall(block)]
    assert len(shown) > 8
    for command, rest in shown:
        options = {name for parameter in commands[command].params for name in parameter.opts}
        assert set(re.findall(r"(?<= )--[\w-]+", rest)) <= options, (command, rest)


# -- the tables of those who come from elsewhere


def first_cells(page, heading):
    section = PAGES[page].partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| "))


@pytest.mark.upstream
def test_the_table_for_langchain_openai_names_every_argument():
    """Those of the version that is installed; what its clients are kept in are no arguments."""
    ChatOpenAI = pytest.importorskip("langchain_openai").ChatOpenAI  # noqa: N806 - the class' name
    named = set(re.findall(r"`(\w+)`", first_cells("migration/langchain_openai.md", "Argument by argument")))
    inner = {"client", "async_client", "root_client", "root_async_client"}
    absent = {
        name for name, field in ChatOpenAI.model_fields.items() if name not in inner and not {name, field.alias} & named
    }
    assert not absent, f"ChatOpenAI has gained {sorted(absent)}: add a row to docs/migration/langchain_openai.md"


@pytest.mark.parametrize("page", ["langchain_cerebras", "langchain_openai"])
def test_the_new_names_of_arguments_exist(page):
    """What the second column calls an argument is one of the chat model's."""
    section = PAGES[f"migration/{page}.md"].partition("## Argument by argument\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        cells = line.split("|")
        if line.startswith("| `"):
            for name in re.findall(r"`([a-z_]+)`", cells[2]):
                assert name in package.ChatCerebrasDemo.model_fields, line


@pytest.mark.parametrize("page", ["langchain_cerebras", "langchain_openai"])
def test_an_argument_of_another_integration_is_accepted_or_its_error_says_what_to_use(page):
    """Every name in the first column: as the table says, and never by a guess at the nearest name."""
    section = PAGES[f"migration/{page}.md"].partition("## Argument by argument\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    arguments = [
        (name, new) for old, new in rows[1:] for name in re.findall(r"`([a-z_]+)`", re.sub(r"\(.*?\)", "", old))
    ]
    assert len(arguments) > 40
    for name, new in arguments:
        if text := unknown_argument(name):
            remedy = re.fullmatch(rf"unknown argument '{name}': (use|leave) (.*)", text)
            fields = re.findall(r"`([a-z_]+)", new)
            assert remedy, text
            assert remedy[1] == ("use" if fields else "leave"), text
            assert not fields or remedy[2].startswith(tuple(fields)), text


def unknown_argument(name):
    try:
        package.ChatCerebrasDemo(**{name: None})
    except TypeError as error:
        return str(error)
    except ValueError:  # not every argument may be None
        return ""
    return ""


def test_the_table_for_langchain_cerebras_names_every_argument_of_ours():
    """In a row, or among the new ones."""
    section = PAGES["migration/langchain_cerebras.md"].partition("## Argument by argument\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    assert set(package.ChatCerebrasDemo.model_fields) <= named


# -- pictures and the site


@needs("scripts")
def test_the_drawing_of_a_call_is_the_scripts():
    """Whoever changes one changes the other: python scripts/draw_call.py."""
    drawn = runpy.run_path(str(ROOT / "scripts" / "draw_call.py"))["draw"]()
    assert (DOCS / "images" / "call.svg").read_text(encoding="utf-8") == drawn


@pytest.mark.parametrize("picture", sorted((DOCS / "images").glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_asks_nobody_for_anything(picture):
    """No font, style or image from outside: it shows without a network."""
    source = picture.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|@import|@font-face|<script|href=", source)


@needs("mkdocs.yml")
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings"))),
    reason="the group `docs` is not installed: `nox -s docs` builds the site",
)
def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path):
    """Strictly; no page loads a script, a style or a picture from elsewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES) / 2
    for page in pages:
        html = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=\"?(https?:[^\s\">]+)", html)
        assert loaded == [], page
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", html, flags=re.DOTALL)
        assert re.findall(r".{20}(?:\]\(|\*\*).{20}", text) == [], f"{page.name} shows Markdown as it is"
