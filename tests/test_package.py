"""The package as a whole: what it shows, how little it loads, and that every part of it stands alone."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import os
import subprocess
import sys
import zipfile
from importlib import import_module, resources
from pathlib import Path

import pytest

import langchain_cerebras_demo as package

NAME = package.__name__
FOLDER = Path(package.__file__).parent
FILES = [path.relative_to(FOLDER).with_suffix("").parts for path in FOLDER.rglob("*.py")]
MODULES = sorted(".".join((NAME, *parts)).removesuffix(".__init__") for parts in FILES if parts != ("__init__",))
OPTIONAL = {"browser_cookie3", "ray", "rich", "typer", "xllamacpp"}  # what the extras install

# What each of these costs is paid by who uses it, and not by `import langchain_cerebras_demo`.
HEAVY = {"aiohttp", "asyncio", "httpx", "langchain_core", "langsmith", "orjson", "pydantic", "ray", "rich", "typer"}


def run(code, *arguments):
    """What a fresh interpreter prints as JSON; it finds the very package that is tested."""
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def loaded_by(statement):
    return set(run(f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"))


# -- what it shows


@pytest.mark.parametrize("name", package.__all__)
def test_every_public_name_resolves_and_explains_itself(name):
    """To the object of its module, with a docstring of its own, and listed by dir()."""
    value = getattr(package, name)
    assert name in dir(package)
    if name == "__version__":
        return
    assert value is getattr(import_module(package._HOMES[name]), name)
    assert inspect.isclass(value) or inspect.isfunction(value)
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}(")  # what a dataclass writes by itself


def test_the_stub_is_the_one_list_and_is_read_whole():
    """Type checkers and the interpreter find the same names: every statement of it is a re-export that both understand."""
    tree = ast.parse(Path(package.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imported = {}
    for node in tree.body:
        assert isinstance(node, ast.ImportFrom)
        assert all(alias.asname == alias.name for alias in node.names)  # else it is private to a type checker
        imported |= {alias.name: node.module for alias in node.names}
    assert imported == package._HOMES
    assert package.__all__ == sorted(imported)


def test_every_error_can_be_imported_from_the_top():
    """All that docs/troubleshooting.md tells of, bulk runs included."""
    from langchain_cerebras_demo import bulk, errors

    raised = {
        name
        for module in (errors, bulk)
        for name in module.__all__
        if inspect.isclass(kind := getattr(module, name)) and issubclass(kind, Exception)
    }
    assert raised - set(package.__all__) == {"OriginalError"}  # which is never raised


def test_the_names_are_found_in_a_zip_file(tmp_path):
    """The list is read through the package's loader."""
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as written:
        for path in FOLDER.rglob("*"):
            if path.suffix in {".py", ".pyi", ".json"}:
                written.write(path, path.relative_to(FOLDER.parent))
    code = f"import sys, json; sys.path.insert(0, {str(archive)!r}); import {NAME} as p; print(json.dumps([p.__file__, p.Timeout(idle=3).idle]))"
    assert run(code) == [f"{archive}/{NAME}/__init__.py", 3]


@pytest.mark.parametrize("name", ["ChatCerebras", "chatcerebrasdemo", "_missing", ""])
def test_an_unknown_name_is_an_attribute_error(name):
    """With the name in it; `hasattr` and `from … import` work as everywhere."""
    with pytest.raises(AttributeError, match=f"module '{NAME}' has no attribute '{name}'"):
        getattr(package, name)
    assert not hasattr(package, name)


def test_a_name_is_looked_up_once():
    """The second time it stands in the module."""
    vars(package).pop("Timeout", None)
    first = package.Timeout
    assert vars(package)["Timeout"] is first
    assert package.Timeout is first


# -- how little it loads


def test_importing_the_package_loads_nothing_heavy():
    """No LangChain, no aiohttp, no pydantic, no orjson, no typer, and none of our own modules but the version."""
    loaded = loaded_by(f"import {NAME}")
    assert not {module.partition(".")[0] for module in loaded} & HEAVY
    assert {module for module in loaded if module.startswith(NAME)} == {NAME, f"{NAME}._version"}


def test_the_provider_loads_of_langchain_its_exceptions_alone():
    """For those who want no LangChain: what `langchain_core.exceptions` loads by itself, and not a module more."""
    prefixes = ("langchain", "langgraph", "langsmith", "pydantic")
    bare = {module for module in loaded_by("import langchain_core.exceptions") if module.startswith(prefixes)}
    ours = {module for module in loaded_by(f"import {NAME}.provider") if module.startswith(prefixes)}
    assert {module for module in ours if module.partition(".")[0] != NAME} == bare
    assert f"{NAME}.provider" in ours
    assert f"{NAME}.chat_models" not in ours


def test_reading_a_json_schema_loads_of_langchain_its_exceptions_alone():
    """What ``ask --schema`` needs: the response format of a schema, and answers checked by it."""
    read = f"from {NAME}.wire.schemas.answer_type import from_mapping, to_response_format; to_response_format({{'type': 'object', 'properties': {{}}}})"
    prefixes = ("langchain", "langgraph", "langsmith", "pydantic")
    bare = {module for module in loaded_by("import langchain_core.exceptions") if module.startswith(prefixes)}
    ours = {module for module in loaded_by(read) if module.startswith(prefixes)}
    assert {module for module in ours if module.partition(".")[0] != NAME} - bare == set()


def test_a_model_loads_no_aiohttp_before_its_first_call():
    """It is a tenth of the import; a transport of one's own needs none of it."""
    loaded = loaded_by(f"from {NAME} import ChatCerebrasDemo, HttpRequest, Transport; ChatCerebrasDemo(api_key='x')")
    assert "aiohttp" not in loaded
    assert "aiohttp" in loaded_by(f"from {NAME} import AiohttpTransport")


def test_the_pure_half_loads_no_transport():
    """A decoder can be used where no event loop is."""
    loaded = loaded_by(f"import {NAME}.wire.completion, {NAME}.wire.request, {NAME}.wire.sse, {NAME}.policy")
    assert "aiohttp" not in loaded
    assert not any(module.startswith(f"{NAME}.{part}") for module in loaded for part in ("transport", "client", "keys"))


# -- every part stands alone

ALONE = """
import importlib, json, sys
failures, loaded = {}, {}
for name in sys.argv[2:]:
    # A module is imported after its package. Where the package's own import has loaded it already, that has been seen.
    if name in loaded.get(name.rpartition(".")[0], ()):
        continue
    for module in [module for module in sys.modules if module.partition(".")[0] == sys.argv[1]]:
        del sys.modules[module]  # what others have installed stays: it is loaded once for all
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        failures[name] = error.name
    except ImportError as error:
        failures[name] = str(error)
    else:
        loaded[name] = set(sys.modules)
print(json.dumps(failures))
"""


@pytest.mark.long
def test_every_module_can_be_imported_first():
    """Each with none of the others loaded before it: no cycle hides behind a lucky order."""
    assert len(MODULES) > 30
    failures = run(ALONE, NAME, *MODULES)
    assert {name: why for name, why in failures.items() if why.partition(".")[0] not in OPTIONAL} == {}


# -- what is shipped


def test_the_package_says_that_it_is_typed():
    """PEP 561: without this file type checkers ignore every annotation."""
    assert resources.files(NAME).joinpath("py.typed").is_file()


def test_the_version_is_that_of_what_is_installed():
    """One place says it, and the build reads it from there."""
    try:
        installed = importlib.metadata.version("langchain-cerebras-demo")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed: run from a source tree")
    assert package.__version__ == installed


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("transport", "AiohttpTransport"),
        ("transport", "HttpRequest"),
        ("transport", "HttpResponse"),
        ("transport", "Transport"),
        ("endpoint", "PlainHttpWarning"),
    ],
)
def test_a_public_name_that_has_moved_is_still_found_at_its_former_address(address, name):
    """Scripts written against earlier pages go on working."""
    module = importlib.import_module(f"langchain_cerebras_demo.{address}")
    assert getattr(module, name) is getattr(package, name)
