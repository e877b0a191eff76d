"""Check the tests: change the code in one place, and see whether a test fails.

    python scripts/mutants.py                      choose 40 mutants; run the quick tests on each (those of the mutant's folder first,
                                                   which find most), then all tests on the survivors
    python scripts/mutants.py --count 10 --seed 7  choose ten others
    python scripts/mutants.py --list               show the mutants without running tests

The same seed chooses the same mutants of the same code. Mutants are made in a copy of the repository, so the working tree is never
changed. The exit code is 1 if a mutant survives: either it does not change the behaviour, or a test is missing.
"""  # noqa: INP001 - a folder of scripts, not a package

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "langchain_cerebras_demo"
TARGETS = ("wire", "policy", "client", "chat_models")
"""The files and folders of the package that are mutated."""

QUICK = ("-m", "quick")
DEFAULT = ("-m", "not long and not upstream")
SECONDS = 900
"""The timeout of one run of the tests; a run that takes longer counts as failed."""

_SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """One change: in ``path`` from character ``start`` to ``end``, ``before`` becomes ``after``."""

    path: Path
    line: int
    start: int
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        before, after = (" ".join(text.split()) for text in (self.before, self.after))
        return f"{self.path.relative_to(ROOT)}:{self.line}: {before} -> {after}"

    def apply(self, root: Path) -> None:
        """Apply the change to the copy of the repository in ``root``."""
        path = root / self.path.relative_to(ROOT)
        source = path.read_text(encoding="utf-8")
        path.write_text(source[: self.start] + self.after + source[self.end :], encoding="utf-8")


def find(path: Path) -> list[Mutant]:
    """Return every mutant of one module, in the order of its lines."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def offset(row: int, column: int) -> int:
        return starts[row - 1] + len(lines[row - 1].encode()[:column].decode())

    mutants = []
    for node in _code(ast.parse(source)):
        for changed in _changes(node):
            start = offset(node.lineno, node.col_offset)
            end = offset(node.end_lineno or node.lineno, node.end_col_offset or 0)
            text = ast.unparse(changed)
            after = f"({text})" if isinstance(changed, ast.expr) else text
            mutants.append(Mutant(path, node.lineno, start, end, source[start:end], after))
    return mutants


def _code(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Return the nodes that are executed: no annotations, docstrings, imports, or f-strings (whose positions are unknown)."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.AnnAssign) or _is_dull(child):
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield child
            if isinstance(child, ast.AST):
                yield from _code(child)


def _is_dull(node: object) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return is_text or is_for_types


def _changes(node: ast.expr | ast.stmt) -> Iterator[ast.AST]:
    """Yield replacements for ``node``."""
    changed = copy.deepcopy(node)
    if isinstance(changed, ast.Compare) and len(changed.ops) == 1 and type(changed.ops[0]) in _SWAPS:
        changed.ops = [_SWAPS[type(changed.ops[0])]()]
        yield changed
    elif isinstance(changed, ast.BoolOp | ast.BinOp) and type(changed.op) in _SWAPS:
        changed.op = _SWAPS[type(changed.op)]()
        yield changed
    elif isinstance(changed, ast.UnaryOp) and isinstance(changed.op, ast.Not):
        yield changed.operand
    elif isinstance(changed, ast.Constant) and isinstance(changed.value, bool):
        yield ast.Constant(not changed.value)
    elif isinstance(changed, ast.Constant) and isinstance(changed.value, int | float):
        yield ast.Constant(changed.value + 1)
    elif isinstance(changed, ast.IfExp):
        yield changed.body
        yield changed.orelse
    elif isinstance(changed, ast.Return) and changed.value is not None and ast.unparse(changed.value) != "None":
        yield ast.Return(ast.Constant(None))
    elif isinstance(changed, ast.Expr) and isinstance(changed.value, ast.Call):
        yield ast.Pass()


def draw(count: int, seed: int) -> list[Mutant]:
    """Choose ``count`` random mutants of all targets."""
    paths = sorted(
        path
        for target in TARGETS
        for path in ((PACKAGE / target).rglob("*.py") if (PACKAGE / target).is_dir() else [PACKAGE / target])
    )
    every = [mutant for path in paths for mutant in find(path)]
    return random.Random(seed).sample(every, count)  # noqa: S311 - repeatable


def is_caught(mutant: Mutant, selection: Sequence[str], workers: int) -> bool:
    """Run the selected tests on a copy with the mutant, and return whether one failed."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        shutil.copytree(
            ROOT, root, ignore=shutil.ignore_patterns(".venv*", ".git", "build", "dist", "__pycache__", ".*_cache")
        )
        mutant.apply(root)
        # Programs started by tests must also import the copy, not the installed package.
        environment = {**os.environ, "PYTHONPATH": str(root)}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", str(workers), "-p", "no:cacheprovider", *selection]
        try:
            done = subprocess.run(  # noqa: S603
                command, cwd=root, env=environment, capture_output=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return True
        if done.returncode not in {0, 1, 2}:
            sys.stderr.write(done.stdout.decode()[-2000:] + done.stderr.decode()[-2000:])
            raise SystemExit(f"pytest ended with {done.returncode}")
        return done.returncode != 0


def main() -> int:
    """Choose mutants, run the tests, and report the results.

    Returns:
        the exit code: 1 if a mutant survived.
    """
    parser = argparse.ArgumentParser(description="Change the code in one place, and see whether a test fails.")
    parser.add_argument("--count", type=int, default=40, help="the number of mutants")
    parser.add_argument("--seed", type=int, default=1, help="the random seed that chooses the mutants")
    parser.add_argument("--only", type=int, nargs="*", help="the numbers of the mutants to run")
    parser.add_argument("--workers", type=int, default=2, help="processes of pytest-xdist")
    parser.add_argument("--quick", action="store_true", help="do not run all tests on the survivors of the quick tests")
    parser.add_argument("--list", action="store_true", help="show the mutants without running tests")
    chosen = parser.parse_args()
    survivors = []
    for number, mutant in enumerate(draw(chosen.count, chosen.seed), start=1):
        if chosen.only and number not in chosen.only:
            continue
        began, verdict = time.monotonic(), ""
        if not chosen.list:
            own = str(mutant.path.relative_to(PACKAGE).parent).split("/")[0]
            is_quick = is_caught(mutant, (*QUICK, f"tests/{own}"), 0) or is_caught(mutant, QUICK, chosen.workers)
            verdict = "quick" if is_quick else "SURVIVED"
            if not (is_quick or chosen.quick) and is_caught(mutant, DEFAULT, chosen.workers):
                verdict = "default"
            verdict += f", {time.monotonic() - began:.0f} s: "
            if verdict.startswith("SURVIVED"):
                survivors.append(mutant)
        sys.stdout.write(f"{number:3} {verdict}{mutant}\n")
        sys.stdout.flush()
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
