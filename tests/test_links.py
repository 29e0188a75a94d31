"""Links inside the documentation, the README and the reports lead somewhere, without a network."""

import doctest
import importlib
import pydoc
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from generated_pages import generated_pages

import robustbench_aigi
from robustbench_aigi import errors
from robustbench_aigi.evaluation.columns import MATRIX_METRICS
from tests.markdown import anchors_in, links_in, markdown_files

CHECKOUT_ROOT = Path(__file__).parent.parent
MARKDOWN_FILES = markdown_files(
    CHECKOUT_ROOT,
    "docs",
    "reports",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "datasets/README.md",
    "tests/example_plugin/README.md",
)


@pytest.fixture(scope="module")
def texts() -> dict[Path, str]:
    """Text of every Markdown file, those that are generated among them, by its path."""
    written = {path: path.read_text(encoding="utf-8") for path in MARKDOWN_FILES}
    docs = CHECKOUT_ROOT / "docs"
    return written | {docs / path: text for path, text in generated_pages().items()}


def faults_of(path: Path, texts: dict[Path, str]) -> list[str]:
    """Links of a file that lead nowhere."""
    faults = []
    for line, target in links_in(texts[path]):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        aim = Path(path.parent, place).resolve() if place else path
        if aim not in texts and not aim.exists():
            faults.append(f"{path}:{line}: no file {place}")
        elif anchor and aim in texts and anchor not in anchors_in(texts[aim]):
            faults.append(f"{path}:{line}: {aim.name} has no heading #{anchor}")
    return faults


def test_links_and_anchors_lead_somewhere(texts: dict[Path, str]) -> None:
    faults = [fault for path in texts for fault in faults_of(path, texts)]
    assert not faults, "\n".join(faults)


def test_the_checker_finds_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "# A title\n\n[a](none.md) [b](#a-title) [c](#other) [d](page.md#a-title) [e](https://x.y)\n"
    faults = faults_of(page, {page: text})
    assert [fault.partition(": ")[2] for fault in faults] == [
        "no file none.md",
        "page.md has no heading #other",
    ]


def test_every_page_is_in_the_navigation(texts: dict[Path, str]) -> None:
    settings = (CHECKOUT_ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = CHECKOUT_ROOT / "docs"
    pages = [path.relative_to(docs).as_posix() for path in texts if path.is_relative_to(docs)]
    pages = [page for page in pages if not page.startswith(("attacks/", "detectors/"))]
    assert [page for page in pages if f"- {page}\n" not in settings] == []


def test_every_report_is_in_the_index() -> None:
    index = (CHECKOUT_ROOT / "reports" / "README.md").read_text(encoding="utf-8")
    folders = [path.parent.name for path in (CHECKOUT_ROOT / "reports").glob("*/README.md")]
    assert folders
    assert [name for name in folders if f"({name}/README.md)" not in index] == []


def test_every_metric_is_explained() -> None:
    page = (CHECKOUT_ROOT / "docs" / "guides" / "what-the-numbers-mean.md").read_text("utf-8")
    assert [metric.name for metric in MATRIX_METRICS if f"`{metric.name}`" not in page] == []


def test_names_in_the_reference_exist() -> None:
    pages = (CHECKOUT_ROOT / "docs" / "reference").glob("*.md")
    names = [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)]
    assert len(names) > 30
    for name in names:
        assert pydoc.locate(name) is not None, name


def test_every_error_is_in_the_reference() -> None:
    page = (CHECKOUT_ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    names = [name for name, kind in vars(errors).items() if isinstance(kind, type)]
    assert [name for name in names if f"::: robustbench_aigi.errors.{name}\n" not in page] == []


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((CHECKOUT_ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == robustbench_aigi.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


@pytest.mark.parametrize("name", ["attack_pages", "docstrings", "markdown_text"])
def test_examples_in_the_generator(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert found.failed == 0
