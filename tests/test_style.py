"""The project keeps its own rules of style: see :mod:`tests.style`."""

from pathlib import Path

import pytest

from tests.style import WORDY, files_in, folds_in, parameters_of, words_in

ROOT_FOLDER = Path(__file__).parent.parent
PACKAGE_FOLDER = ROOT_FOLDER / "robustbench_aigi"
TEXT_PLACES = ("robustbench_aigi", "tests", "docs", "attacks", "datasets")
"""Folders whose text is checked, besides the pages at the top and those of the reports."""
MIN_DOCUMENTED_SHARE = 0.7
"""Least share of parameters that docstrings name."""


def test_old_words_do_not_come_back() -> None:
    pages = [*ROOT_FOLDER.glob("*.md"), *(ROOT_FOLDER / "reports").rglob("*.md")]
    texts = files_in([ROOT_FOLDER / place for place in TEXT_PLACES], WORDY)
    assert len(texts) > 300
    others = [path for path in (*texts, *pages) if path != Path(__file__)]
    assert [str(finding) for path in others for finding in words_in(path)] == []


def test_code_is_not_folded() -> None:
    modules = files_in([PACKAGE_FOLDER], (".py",))
    assert [str(finding) for path in modules for finding in folds_in(path)] == []


def test_docstrings_name_their_parameters() -> None:
    named = [ok for path in files_in([PACKAGE_FOLDER], (".py",)) for *_, ok in parameters_of(path)]
    assert sum(named) / len(named) >= MIN_DOCUMENTED_SHARE


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("a = 1 if b else 2 if c else 3\n", "a conditional expression inside another"),
        ("a, b = 1, 2\n", "several values assigned on one line"),
        ("MOST = 4\n", "the constant MOST is of one word"),
        ("MOST: int = 4\n", "the constant MOST is of one word"),
        ("def f():\n" + "    x()\n" * 41, "f has 41 lines"),
        ("a, b = b, a\nMAX_BATCH = 4\n", ""),
        ('def f():\n    """Long.\n' + "\n" * 60 + '    """\n    x()\n', ""),
    ],
)
def test_folds_are_found(tmp_path: Path, code: str, finding: str) -> None:
    path = tmp_path / "code.py"
    path.write_text(code)
    assert [found.text for found in folds_in(path)] == ([finding] if finding else [])


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("one row an image", True),
        ("images a second", True),
        ("a killed run goes on from there", True),
        ("one row per image", False),
        ("an image of a row", False),
    ],
)
def test_words_are_found(tmp_path: Path, line: str, is_found: bool) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"{line}\n")
    assert bool(list(words_in(path))) is is_found
