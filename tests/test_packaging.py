"""What stands around the code agrees with it: metadata, workflows, changelog, the contributor's map."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import langchain_cerebras_demo as package

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # as text: 3.10 has no tomllib
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
RELEASE = (ROOT / "docs" / "release.md").read_text(encoding="utf-8")

ABOUT = metadata.metadata("langchain-cerebras-demo")
PYTHONS = [found[1] for one in ABOUT.get_all("Classifier") if (found := re.fullmatch(r".*:: Python :: (3\.\d+)", one))]


def steps(path):
    return [step for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values() for step in job["steps"]]


# -- metadata


def test_the_metadata_names_no_home_page_that_there_is_not():
    """No address stands in for one; who made it is named without a person."""
    assert ABOUT.get_all("Project-URL") is None
    assert ABOUT.get("Home-page") is None
    assert ABOUT["Author"] == "the langchain_cerebras_demo authors"
    assert ABOUT.get("Author-email") is None


def test_the_metadata_says_licence_types_and_description():
    """What an index shows and filters by."""
    assert ABOUT["License-Expression"] == "MIT"
    assert ABOUT.get_all("License-File") == ["LICENSE"]
    assert "Typing :: Typed" in ABOUT.get_all("Classifier")
    assert "# langchain_cerebras_demo" in ABOUT.get_payload()


def test_the_oldest_python_is_the_same_in_all_places():
    """The metadata, the classifiers, the linter, and the matrix of the workflow, which tries each of them everywhere."""
    assert ABOUT["Requires-Python"] == f">={PYTHONS[0]}"
    assert f'target-version = "py{PYTHONS[0].replace(".", "")}"' in PYPROJECT
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    for name in ("linux", "elsewhere"):
        assert jobs[name]["strategy"]["matrix"]["python"] == PYTHONS


def test_the_version_stands_in_one_place():
    """The build reads it from there, and no other file of the project repeats it."""
    assert 'dynamic = ["version"]' in PYPROJECT
    assert 'path = "langchain_cerebras_demo/_version.py"' in PYPROJECT
    assert not re.search(r"^version\s*=", PYPROJECT, re.MULTILINE)
    home = Path(package.__file__).parent
    holders = [
        path.name
        for path in home.rglob("*.py")
        if re.search(r"^__version__\s*=", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert holders == ["_version.py"]


# -- workflows


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_a_hash_and_says_its_version(path):
    """A tag can be moved, and a bare hash tells a reader nothing."""
    used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert len(used) == sum("uses" in step for step in steps(path))
    for line in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_one_action_is_one_version_everywhere():
    """What is raised in one workflow is raised in all."""
    used = {line for path in WORKFLOWS for line in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))}
    assert len({line.partition("@")[0] for line in used}) == len(used) >= 5


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_may_do_no_more_than_it_needs(path):
    """Nothing at the top; reading in each job; and the one that publishes holds no source and runs nothing of ours."""
    flow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert flow["permissions"] == {}
    assert {"group", "cancel-in-progress"} == set(flow["concurrency"])
    for name, job in flow["jobs"].items():
        if name == "publish":
            assert job["permissions"] == {"id-token": "write"}
            assert job["environment"] == "release"
            assert [step["uses"].partition("@")[0] for step in job["steps"]] == [
                "actions/download-artifact",
                "pypa/gh-action-pypi-publish",
            ]
        else:
            assert job["permissions"] == {"contents": "read"}
        assert job["timeout-minutes"] <= 120
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_session_that_is_spoken_of_is_in_the_noxfile():
    """In workflows, in `.ci/run`, in the pages for contributors."""
    sessions = set(re.findall(r"^def (\w+)\(session:", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [CONTRIBUTING, RELEASE, *(path.read_text(encoding="utf-8") for path in WORKFLOWS)]
    spoken = {
        name
        for text in texts
        for line in re.findall(r"nox -s ((?:\w+(?:-[\d.]+)?[ `\n])+)", text)
        for name in line.split()
    }
    named = {name.strip("`").partition("-")[0] for name in spoken}
    assert {"dist", "installed", "floors", "docs"} <= named
    assert named <= sessions


# -- pages


def test_every_file_that_the_floors_leave_out_is_there():
    """Pytest says nothing of a path to leave out that has moved, and then runs it."""
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    left_out = re.findall(r'"--(?:ignore|deselect)=([^":]+)(?:::(\w+))?', source)
    assert len(left_out) >= 4
    for path, test in left_out:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_the_changelog_keeps_the_form():
    """Unreleased first; then versions with their day, newest first; the six kinds of change; none is empty."""
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "Unreleased"
    for heading in headings[1:]:
        assert re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}( \[YANKED\])?", heading)
    versions = [tuple(map(int, heading.split(" ")[0].split("."))) for heading in headings[1:]]
    assert versions == sorted(set(versions), reverse=True)
    for kind, text in re.findall(r"^### (.*)\n\n?((?:(?!#).*\n?)*)", CHANGELOG, re.MULTILINE):
        assert kind in {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
        assert text.startswith("- ")


def test_every_file_that_a_recipe_names_is_there():
    """In the table of changes and the recipes below it."""
    recipes = CONTRIBUTING.partition("## Which files to touch")[2]
    named = set(re.findall(r"`([\w/]+/[\w.]+\.(?:py|md|json))`", recipes))
    assert len(named) > 30
    home = Path(package.__file__).parent
    assert [name for name in sorted(named) if not (ROOT / name).exists() and not (home / name).exists()] == []


def test_the_map_of_the_house_shows_each_room():
    """Every module and folder of the package is in CONTRIBUTING, and nothing that there is not."""
    home = Path(package.__file__).parent
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in home.iterdir()
        if path.is_dir() or path.suffix == ".py"
    }
    text = CONTRIBUTING.partition("## Code layout")[2].split("```")[1]
    shown = set(re.findall(r"(?:^|\| )(\w+(?:\.py|/))  +", text, re.MULTILINE))
    assert shown <= there
    beside = {"__init__.py", "__main__.py", "__pycache__/", "_version.py", "testing/", "data/"}
    beside |= {"endpoint.py", "transport.py"}  # former addresses
    assert there - shown <= beside


def test_the_map_of_the_house_has_the_layers_of_the_import_contract():
    """From top to bottom; a line that begins with `|` is in the layer of the line above it."""
    text = CONTRIBUTING.partition("## Code layout")[2].split("```")[1]
    shown = []
    for bar, name in re.findall(r"^(\| )?(\w+)(?:\.py|/)  ", text, re.MULTILINE):
        if not bar:
            shown.append(set())
        shown[-1].add(name)
    checked = re.search(r"^layers = \[\n(.*?)^\]$", PYPROJECT, re.MULTILINE | re.DOTALL)[1]
    layers = [set(layer.split(" | ")) for layer in re.findall(r'"(.*)"', checked)]
    assert shown == [layer for layer in layers if layer not in ({"__main__"}, {"endpoint", "transport"})]


def test_the_set_up_for_contributors_is_the_readmes():
    """One command, the same that `.ci/run` runs."""
    command = re.search(r"^```sh\n(.*?)\n```$", CONTRIBUTING, re.MULTILINE)
    assert command[1] in (ROOT / "README.md").read_text(encoding="utf-8")


# -- constraints


CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_the_constraints_name_no_address():
    """Whoever installs with them asks the index of their own settings."""
    assert not re.search(r"//|--index|--find-links|file:| @ ", CONSTRAINTS)


def test_every_direct_requirement_has_its_version_in_the_constraints():
    """Those of the package, its extras and the tests; `nox -s constraints` writes them anew."""
    pinned = set(re.findall(r"^([a-z0-9-]+)==", CONSTRAINTS, re.MULTILINE))
    asked = {re.match(r"[A-Za-z0-9_.-]+", line)[0] for line in ABOUT.get_all("Requires-Dist")}
    groups = PYPROJECT.partition("[dependency-groups]")[2].partition("\ndocs = ")[0]
    asked |= set(re.findall(r'^\s+"([A-Za-z0-9-]+)', groups, re.MULTILINE))
    assert {name.lower() for name in asked} - pinned - {"langchain-cerebras-demo"} == set()
