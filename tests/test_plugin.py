"""A third-party package is found by its entry points and can test itself."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT_ROOT = Path(__file__).parent.parent
PLUGIN_FOLDER = CHECKOUT_ROOT / "tests" / "example_plugin"


def entry_points_text(groups: dict[str, dict[str, str]]) -> str:
    """``entry_points.txt`` of an installed package."""
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example plug-in as ``pip install --target`` leaves it, without a build."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PLUGIN_FOLDER / "pyproject.toml").read_text())["project"]
    package = project["name"].replace("-", "_")
    shutil.copytree(PLUGIN_FOLDER / package, site / package)
    info = site / f"{package}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    (info / "entry_points.txt").write_text(entry_points_text(project["entry-points"]))
    return site


def run_python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder of an installed plug-in."""
    path = os.pathsep.join([str(site), str(CHECKOUT_ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=site,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_list_shows_the_components_of_a_plugin(installed: Path) -> None:
    done = run_python(installed, "-m", "robustbench_aigi", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    names = json.loads(done.stdout)
    assert "vertical-stripes" in names["attacks"]
    assert "mean-brightness" in names["detectors"]


def test_a_plugin_passes_the_contract_tests_in_its_own_suite(installed: Path) -> None:
    shutil.copy(PLUGIN_FOLDER / "test_plugin.py", installed)
    done = run_python(
        installed, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_plugin.py"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_plugin_that_fails_to_import_is_named(installed: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(installed, tmp_path / "site")
    (broken / "rb_example_plugin" / "stripes.py").write_text("import no_such_package\n")
    done = run_python(broken, "-m", "robustbench_aigi", "list", "attacks")
    assert done.returncode == 0
    assert "vertical-stripes (rb_example_plugin.stripes:VerticalStripes) failed" in done.stderr
    assert "pgd-linf" in done.stdout
