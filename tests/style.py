"""Checks of style that ruff does not have: words, folded code, documented parameters.

Run it on files or folders: ``python -m tests.style robustbench_aigi/attacks``.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_FUNCTION_LINES = 40
"""Lines of a function without its docstring and signature."""
THINGS = (
    "rows?|lines?|images?|seconds?|passes|bytes|files?|logits?|scores?|tables?|columns?|numbers?"
    "|draws?|queries|query|cells?|requests?|megabytes|threads?|epochs?|steps?|workers?|shards?"
    "|logit|number|detectors?|evaluations?|keys?|places?|pictures?|hours?|minutes?|groups?"
)
OLD_FORMS = {
    rf"\b({THINGS}) an? ({THINGS}|split|attack|second|batch|class|generator|user|pixel|mode|core"
    r"|machine|process|core|channel|parent|direction|window|level|folder|word|row group)\b": (
        'write "per": one row per image'
    ),
    r"\btold\b": "write reported, printed, message or hint",
    r"\bgoes on\b|\bgo on (from|where|when)\b": "write resumes, continues",
    r"\b(is|are|was|be) no number\b": "write NaN or infinite",
    r"\bway back\b": "write backward pass",
    r"\bin the place of\b": "write instead of",
    r"\bfor want of\b": "write out of, lacking",
    r"\bas chance will have it\b": "write at random",
    r"\brefus(e|es|ed|ing)\b": "write reject, where input is meant",
    r"\bmend(s|ed|ing)?\b": "write fix",
    r"\bane[w]\b": "write again, from the start",
    r"\bwhatever detector\b": "write any detector",
    r"\bnot begun\b": "write not started",
    r"\ba hole\b": "write a vulnerability",
}
"""Patterns of WORDS that must not come back, and what to write."""
WORDY = (".md", ".py", ".toml", ".html", ".js")


class Finding(NamedTuple):
    """Something to change, at a line of a file."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def words_in(path: Path) -> Iterator[Finding]:
    """Old forms in the text of a file."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for pattern, advice in OLD_FORMS.items():
            if found := re.search(pattern, line):
                yield Finding(path, number, f"{found[0]!r}: {advice}")


def folds_in(path: Path) -> Iterator[Finding]:
    """Nested conditional expressions, packed assignments, long functions, one-word constants."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.IfExp) and n is not node]
            if inner:
                yield Finding(path, node.lineno, "a conditional expression inside another")
        if isinstance(node, ast.Assign) and _is_packed(node):
            yield Finding(path, node.lineno, "several values assigned on one line")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - _body(node)[0].lineno + 1 if _body(node) else 0  # type: ignore[operator]
            if lines > MAX_FUNCTION_LINES:
                yield Finding(path, node.lineno, f"{node.name} has {lines} lines")
    for statement in tree.body:
        for target in _targets(statement):
            if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z]{2,}", target.id):
                yield Finding(path, statement.lineno, f"the constant {target.id} is of one word")


def _targets(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.AnnAssign):
        return [statement.target]
    return statement.targets if isinstance(statement, ast.Assign) else []


def _is_packed(node: ast.Assign) -> bool:
    target, value = node.targets[0], node.value
    if not (isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)):
        return False
    return {ast.unparse(e) for e in target.elts} != {ast.unparse(e) for e in value.elts}  # a swap


def _body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    return node.body[1:] if ast.get_docstring(node) is not None else node.body


def parameters_of(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Public functions' parameters: function, parameter, and whether the docstring names it.

    Left out are private functions, overrides of a documented method (``@override``), and those of
    one parameter whose first line says all.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    scopes += [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for scope in scopes:
        for node in scope.body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            text = ast.get_docstring(node) or ""
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            for argument in arguments:
                if argument.arg not in ("self", "cls"):
                    named = re.search(rf"\b{re.escape(argument.arg)}\b", text) is not None
                    yield node.name, argument.arg, named


def files_in(places: list[Path], endings: tuple[str, ...]) -> list[Path]:
    """Files with one of the endings, at or below each place."""
    found = [[place] if place.is_file() else sorted(place.rglob("*")) for place in places]
    return [path for paths in found for path in paths if path.suffix in endings]


def main() -> None:
    """Print the findings, and the share of parameters that docstrings name."""
    places = [Path(word) for word in sys.argv[1:]]
    for path in files_in(places, WORDY):
        for finding in [*words_in(path), *(folds_in(path) if path.suffix == ".py" else ())]:
            print(finding)  # noqa: T201
    named = [ok for path in files_in(places, (".py",)) for _, _, ok in parameters_of(path)]
    print(f"parameters named in docstrings: {sum(named)} of {len(named)}")  # noqa: T201


if __name__ == "__main__":
    main()
