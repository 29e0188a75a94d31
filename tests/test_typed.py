"""C2, C12: a type checker sees the public names, and the package says its version."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import assert_type

import pytest

import robustbench_aigi as rb
from robustbench_aigi.attacks import Suite
from robustbench_aigi.attacks.base import Attack
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector

ROOT = Path(rb.__file__).parent.parent
CLIENT = """
import robustbench_aigi as rb

rb.load_detecter("x")
rb.evaluate(1, 2, 3)
rb.load_detector(5)
reveal_type(rb.load_detector("x"))
reveal_type(rb.Matrix)
"""

CONFIG = """
[mypy]
strict = true
mypy_path = {root}
follow_imports = skip
ignore_missing_imports = true
[mypy-robustbench_aigi.*]
follow_imports = silent
"""
"""Other packages are left out, because to read torch alone takes mypy a minute."""


def test_types_are_those_of_the_modules(tiny_recipe: str) -> None:
    """``assert_type`` is checked by mypy, which reads the tests too; here the calls only have to
    run.
    """
    assert_type(rb.load_detector("cifake-cnn"), Detector)
    assert_type(rb.load_attack("fgsm"), Attack)
    assert_type(rb.load_suite("quick"), Suite)
    assert_type(rb.load_data(tiny_recipe, split="test"), Dataset)
    assert_type(rb.__version__, str)


def test_a_type_checker_finds_wrong_use_of_the_public_names(tmp_path: Path) -> None:
    mypy = pytest.importorskip("mypy.api")
    (tmp_path / "client.py").write_text(CLIENT)
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG.format(root=ROOT))
    options = [
        "--config-file",
        str(config),
        "--cache-dir",
        str(tmp_path / "cache"),
        str(tmp_path / "client.py"),
    ]
    text, _, _ = mypy.run(options)
    own = [line for line in text.splitlines() if "client.py" in line]
    assert any('has no attribute "load_detecter"' in line for line in own), text
    assert any(":5:" in line and "arg-type" in line for line in own), text
    assert any(":6:" in line and "arg-type" in line for line in own), text
    assert any(":7:" in line and "detectors.base.Detector" in line for line in own), text
    assert not any('Revealed type is "Any"' in line for line in own), text


def test_pyright_finds_wrong_use_of_the_public_names(tmp_path: Path) -> None:
    """basedpyright is pyright in a wheel that needs no download when it is first run."""
    pytest.importorskip("basedpyright")
    (tmp_path / "client.py").write_text(CLIENT)
    settings = {
        "typeCheckingMode": "standard",
        "include": ["client.py"],
        "extraPaths": [str(ROOT)],
        "pythonPath": sys.executable,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    found = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    diagnostics = json.loads(found.stdout)["generalDiagnostics"]
    lines = {item["range"]["start"]["line"] + 1: item for item in diagnostics}
    assert lines[4]["rule"] == "reportAttributeAccessIssue"
    assert lines[5]["rule"] == "reportCallIssue"
    assert lines[6]["rule"] == "reportArgumentType"
    assert lines[7]["message"] == 'Type of "rb.load_detector("x")" is "Detector"'
    assert lines[8]["message"] == 'Type of "rb.Matrix" is "type[Matrix]"'


def test_dir_lists_the_public_names() -> None:
    """B16."""
    assert set(rb.__all__) <= set(dir(rb))
    assert "__version__" in dir(rb)


def test_the_version_is_that_of_the_installed_package() -> None:
    assert rb.__version__ == version("robustbench-aigi")
    for call in (["robustbench_aigi"], ["robustbench_aigi.cli.main"]):
        done = subprocess.run(
            [sys.executable, "-m", *call, "--version"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"robustbench-aigi {rb.__version__}\n"
