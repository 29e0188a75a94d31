"""Every example in the documentation and the README runs, on few images, or says why it is not run.

The blocks of a page run in order in a folder of their own, in one process. The dataset ``mini`` and
the suite ``quick`` are smaller here; ``photos/`` and ``photo.png`` are there.
"""

import importlib
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from PIL import Image
from typer.core import TyperGroup
from typer.testing import CliRunner

from robustbench_aigi import catalogue
from robustbench_aigi.attacks import load_suite
from robustbench_aigi.cli.main import app
from tests.markdown import Block, blocks_in, commands_in, markdown_files

CHECKOUT_ROOT = Path(__file__).parent.parent
COMMAND_NAME = "robustbench-aigi"
BRIGHT_MINI = """
name = "mini"
version = 2
training_plan = "mini"
kind = "labelled"
licence = "test"
source = "{source}"
layout = "folder"
[labels]
real = 0
fake = 1
"""
"""A dataset instead of ``mini`` that is learnt in a moment: fakes are bright."""
QUICK_ROWS = ("pgd-linf-8", "jpeg-50")
"""Rows of the suite ``quick`` that are run."""
IMAGES_PER_CLASS = {"train": 40, "validation": 8, "test": 8}
DOCS_PAGES = {
    path.relative_to(CHECKOUT_ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in markdown_files(CHECKOUT_ROOT, "docs", "README.md")
}
HUGE_COMMANDS = frozenset({"run", "generate"})
"""Commands that are parsed and not run, because they take minutes."""


def write_images(folder: Path, count: int) -> None:
    """Write as many dark images to ``real/``, and bright ones to ``fake/``."""
    rng = np.random.default_rng(count)
    for kind, least in (("real", 40), ("fake", 150)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(least, least + 60, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photo.png`` and a dataset ``photos/``."""
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder / "photos", 12)
    shutil.copy(folder / "photos" / "real" / "0.png", folder / "photo.png")
    return folder


@pytest.fixture(scope="module")
def small_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Suites and recipes of the checkout, with a small ``mini`` and fewer rows of ``quick``."""
    folder = tmp_path_factory.mktemp("catalogue")
    for kind in ("attacks", "datasets"):
        shutil.copytree(catalogue.folder(kind), folder / kind)
    for split, count in IMAGES_PER_CLASS.items():
        write_images(folder / "mini" / split, count)
    recipe = BRIGHT_MINI.format(source=folder / "mini")
    (folder / "datasets" / "mini.toml").write_text(recipe)
    quick = load_suite("quick")
    rows = [row for row in quick.rows if row.id in QUICK_ROWS]
    assert len(rows) == len(QUICK_ROWS)
    text = f'name = "quick"\nversion = {quick.version}\nseed = 0\npolicy = "quick"\n'
    for row in rows:
        text += f'[[attacks]]\nid = "{row.id}"\nattack = "{row.attack}"\n'
        text += f'surrogate = "{row.surrogate}"\n' if row.surrogate else ""
    (folder / "attacks" / "quick.toml").write_text(text)
    return folder


@pytest.fixture
def session(
    small_catalogue: Path,
    photos: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """An empty folder in which the blocks of a page run; what they import is forgotten."""
    real = catalogue.folder
    kinds = ("attacks", "datasets")
    monkeypatch.setattr(
        catalogue, "folder", lambda kind: small_catalogue / kind if kind in kinds else real(kind)
    )
    folder = tmp_path / "session"
    shutil.copytree(photos, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    known = set(sys.modules)
    importlib.invalidate_caches()
    torch.manual_seed(0)
    yield folder
    for name in set(sys.modules) - known:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def parse_command(arguments: list[str]) -> None:
    """Parse a command as the real command line does; raises for an option that does not exist."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    if not arguments or arguments[0].startswith("--"):
        return
    assert arguments[0] in group.commands, f"no command {arguments[0]}"
    command = group.commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])


def run_command(arguments: list[str]) -> None:
    """Run a command; exit codes 0, 1 and 3 are answers, anything else is a fault.

    A build runs in this process, and draws no images.
    """
    if arguments[0] == "build":
        arguments = [*arguments, "--executor", "local", "--workers", "1", "--samples", "0"]
    done = CliRunner().invoke(app, arguments)
    wrong = done.exception is not None and not isinstance(done.exception, SystemExit)
    assert not wrong, f"{done.exception!r}\n{done.output}"
    assert done.exit_code in (0, 1, 3), done.output


def run_block(block: Block, scope: dict[str, Any]) -> None:
    """Run a block of a page, or write the file that it shows."""
    if block.title:
        Path(block.title).write_text(block.text, encoding="utf-8")
        importlib.invalidate_caches()
    elif block.language == "python":
        exec(compile(block.text, f"line {block.line}", "exec"), scope)
    elif block.text.lstrip().startswith(COMMAND_NAME):
        for command in commands_in(block.text):
            arguments = shlex.split(command)
            assert arguments[0] == COMMAND_NAME, f"{command}: not a command of {COMMAND_NAME}"
            if arguments[1] in HUGE_COMMANDS:
                parse_command(arguments[1:])
            else:
                run_command(arguments[1:])


@pytest.mark.parametrize("page", DOCS_PAGES)
def test_examples_of_a_page_run(page: str, session: Path) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_in(DOCS_PAGES[page]):
        if block.not_run is None:
            try:
                run_block(block, scope)
            except Exception as error:
                raise AssertionError(f"{page}:{block.line}: {error}\n\n{block.text}") from error


def parsed_commands(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of every command of the package, in blocks of any kind."""
    for block in blocks_in(text):
        for command in commands_in(block.text):
            if command.startswith(f"{COMMAND_NAME} "):
                yield block.line, command


@pytest.mark.parametrize("page", DOCS_PAGES)
def test_commands_of_a_page_are_parsed(
    page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those that are not run too."""
    monkeypatch.chdir(tmp_path)
    for line, command in parsed_commands(DOCS_PAGES[page]):
        arguments = shlex.split(command.replace("s3://", "runs/"))[1:]  # no cloud is asked
        try:
            parse_command(arguments)
        except Exception as error:
            raise AssertionError(f"{page}:{line}: {command}: {error}") from error
