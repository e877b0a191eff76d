"""What type checkers say of code that uses the package: right.py passes, each marked line of wrong.py is refused."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
RIGHT, WRONG = FOLDER / "right.py", FOLDER / "wrong.py"


def marked(path, mark):
    return {number for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if re.search(mark, line)}


def run(arguments):
    """The output of a checker; it finds the very package that is tested."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=FOLDER,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def problems_of_mypy(tmp_path):
    """Files and lines with an error, in strict mode."""
    options = ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={tmp_path}", "--no-error-summary"]
    done = run(["mypy", *options, RIGHT.name, WRONG.name])
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return [(name, int(line)) for name, line in re.findall(r"^(\w+\.py):(\d+): error:", done.stdout, re.MULTILINE)]


def problems_of_pyright(tmp_path):
    """The same of pyright, in strict mode; basedpyright is the build of it whose wheel needs no download."""
    settings = tmp_path / "pyrightconfig.json"
    included = [str(RIGHT), str(WRONG)]
    settings.write_text(
        json.dumps({"include": included, "extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}), "utf-8"
    )
    done = run(["basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(settings)])
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 2
    return [
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
        for one in found["generalDiagnostics"]
        if one["severity"] == "error"
    ]


@pytest.mark.skipif(
    importlib.util.find_spec("basedpyright") is None,
    reason="the two type checkers are not installed: pip install --group typing (`.ci/run` does)",
)
@pytest.mark.parametrize("problems_of", [problems_of_mypy, problems_of_pyright])
def test_right_code_passes_and_wrong_code_is_refused_on_its_line(problems_of, tmp_path):
    """Constructor, calls, structured output and errors; the published signatures are what the checkers read."""
    problems = problems_of(tmp_path)
    assert [line for name, line in problems if name == RIGHT.name] == []
    assert {line for name, line in problems if name == WRONG.name} == marked(WRONG, "# wrong$")


def test_there_are_enough_examples():
    """Thirty that are right and twenty that are wrong."""
    assert len(marked(RIGHT, r"assert_type\(|# right$")) >= 30
    assert len(marked(WRONG, "# wrong$")) >= 20
