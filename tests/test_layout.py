import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import robustbench_aigi as rb

PACKAGE = Path(rb.__file__).parent
LAYERS = {
    "errors": 0,
    "progress": 0,
    "outcomes": 0,
    "registry": 0,
    "config": 0,
    "io": 0,
    "imaging": 0,
    "catalogue": 0,
    "executors": 0,
    "extras": 0,
    "generators": 1,
    "detectors": 2,
    "attacks": 3,
    "data": 4,
    "training": 5,
    "evaluation": 5,
    "judging": 5,
    "testing": 5,
    "report": 6,
    "pipeline": 7,
    "cli": 8,
    "__main__": 9,
}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def imported(name: str, path: Path, known: set[str]) -> set[str]:
    """Modules of the package that a file imports anywhere, in functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return (found & known) - {name}


def test_no_two_files_import_each_other_in_a_circle() -> None:
    files = {
        ".".join(("robustbench_aigi", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in modules()
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph = {name: imported(name, path, set(files)) for name, path in files.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if not name.startswith("robustbench_aigi."):
                continue
            other = name.split(".")[1]
            assert (
                other == layer
                or LAYERS[other] < LAYERS[layer]
                or LAYERS[layer] == LAYERS[other] == 0
            ), name


def test_public_names_are_those_declared() -> None:
    assert sorted(rb.__all__) == sorted(rb._HOMES)
    assert all(getattr(rb, name) is not None for name in rb.__all__)
    with pytest.raises(AttributeError):
        getattr(rb, "no_such_name")  # a type checker knows, and would say so  # noqa: B009


def test_catalogue_folders_hold_no_python() -> None:
    root = PACKAGE.parent
    for folder in ("attacks", "datasets", "reports"):
        assert not list((root / folder).rglob("*.py"))


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys, robustbench_aigi.cli.main; sys.exit('torch' in sys.modules or 'pandas' in"
        " sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_of_detectors_do_not_wait_for_timm() -> None:
    code = (
        "import sys; from robustbench_aigi.detectors import detectors;"
        " import robustbench_aigi.pipeline.evaluate, robustbench_aigi.training;"
        " import robustbench_aigi.data.prompts; detectors.names();"
        " sys.exit(bool({'timm', 'torchvision', 'diffusers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_marker_of_typed_package_is_there() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_shipped_weights_are_small() -> None:
    weights = list((PACKAGE / "weights").glob("*.safetensors"))
    assert weights
    assert all(path.stat().st_size <= 11 * 2**20 for path in weights)
    assert sum(path.stat().st_size for path in weights) <= 40 * 2**20
