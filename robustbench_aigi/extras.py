"""Optional packages: the command that installs an extra, however this package itself was
installed.
"""

import shlex
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE_NAME = "robustbench-aigi"
PROJECT_FILE = Path(__file__).parent.parent / "pyproject.toml"
"""There in a checkout, and nowhere else."""


def install_command(extra: str) -> str:
    """Return the pip command that installs what an extra asks for.

    An index knows ``robustbench-aigi[extra]`` only where the package came from one. A checkout, a
    folder or a wheel file has no such name, so the packages themselves are listed.
    """
    packages = _packages(extra)
    return (
        f"pip install {shlex.join(packages)}"
        if packages
        else f"pip install '{PACKAGE_NAME}[{extra}]'"
    )


def _packages(extra: str) -> list[str]:
    """What the extra asks for; empty where an index can be asked for the extra by name, or nothing
    is known of it.
    """
    if PROJECT_FILE.is_file():
        project = tomllib.loads(PROJECT_FILE.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == PACKAGE_NAME:
            return list(project.get("optional-dependencies", {}).get(extra, ()))
    try:
        installed = distribution(PACKAGE_NAME)
    except PackageNotFoundError:
        return []
    if (
        installed.read_text("direct_url.json") is None
    ):  # PEP 610: written for whatever did not come from an index
        return []
    marks = (f"extra == '{extra}'", f'extra == "{extra}"')
    halves = (requirement.partition(";") for requirement in installed.requires or ())
    return [
        package.strip() for package, _, marker in halves if any(mark in marker for mark in marks)
    ]
