"""Hints name the command that works where the package came from."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from robustbench_aigi import extras


def test_hints_name_the_command_that_works_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """B17: from a checkout, a folder or a wheel file the extra has no name that an index knows."""
    assert extras.install_command("onnx") == "pip install onnx onnxruntime onnxscript"
    assert (
        extras.install_command("no-such-extra") == "pip install 'robustbench-aigi[no-such-extra]'"
    )

    class Installed:
        requires = (
            "torch",
            "onnx; extra == 'onnx'",
            'diffusers>=0.42; python_version > "3" and extra == "onnx"',
            "ray; extra == 'ray'",
        )
        origin: str | None = '{"dir_info": {"editable": true}, "url": "file:///somewhere"}'

        def read_text(self, name: str) -> str | None:
            return self.origin

    monkeypatch.setattr(extras, "PROJECT_FILE", tmp_path / "pyproject.toml")
    monkeypatch.setattr(extras, "distribution", lambda name: Installed())
    assert extras.install_command("onnx") == "pip install onnx 'diffusers>=0.42'"
    Installed.origin = None
    assert extras.install_command("onnx") == "pip install 'robustbench-aigi[onnx]'"

    def gone(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", gone)
    assert extras.install_command("onnx") == "pip install 'robustbench-aigi[onnx]'"


def test_no_message_names_an_extra_by_hand() -> None:
    """B17: all hints go through one function."""
    package = Path(extras.__file__).parent
    with_extra = [
        path.name for path in package.rglob("*.py") if "robustbench-aigi[" in path.read_text()
    ]
    assert with_extra == ["extras.py"]
