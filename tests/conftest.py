import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import Attack, load_attack
from robustbench_aigi.data.recipes import read_recipe
from robustbench_aigi.detectors import Card, Detector

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
CIFAKE = SHARED / "cifake"
needs_cifake = pytest.mark.skipif(
    not CIFAKE.is_dir(), reason="needs CIFAKE in ../shared/data/cifake"
)

SLOW_FILES = frozenset(
    f"test_{name}.py"
    for name in """
    adapters addressed_weights adequacy artefacts assembly attack_laws attacks attention bare_names
    bayesian cli cli_jobs clip_detectors detect detectors docs errors_in_cells evaluation executors
    fingerprint_processes foreign_runs gapl gate hf hub_models launder methods mixed_sizes page
    pipelines plugin random_detectors reconstruction shapes shipped spai storage_server training
    training_free training_resumed transformers typed
    """.split()
)
"""Files of whole runs, trainings and large networks, which ``make quick`` leaves out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, and put them first, so that two processes end together."""
    items.sort(key=lambda item: item.path.name not in SLOW_FILES)
    for item in items:
        if item.path.name in SLOW_FILES:
            item.add_marker(pytest.mark.slow)


TINY_RECIPE = """
name = "tiny"
version = 1
training_plan = "{plan}"
kind = "mini"
licence = "test"
[parts]
train = 50
validation = 12
test = 12
steps = 4
"""

TINY_PLAN = """
name = "tiny"
version = 1
[train]
numbers = { eps = 8, steps = 1 }
[[jobs]]
detector = "cifake-cnn"
epochs = 12
[[jobs]]
detector = "resnet18-c32"
epochs = 2
start = "cifake"
[[jobs]]
detector = "tinyvit-5m"
epochs = 2
start = "cifake"
[[jobs]]
detector = "clip-mlp"
epochs = 8
[[jobs]]
detector = "tinyvit-5m"
method = "static"
epochs = 1
start = "tinyvit-5m"
[[jobs]]
detector = "tinyvit-5m"
method = "pgd"
epochs = 2
start = "tinyvit-5m"
numbers = { eps = 8, steps = 1 }
[[jobs]]
detector = "clip-mlp"
method = "fare"
epochs = 1
start = "clip-mlp"
numbers = { eps = 4, steps = 1 }
"""

TINY_SUITE = """
name = "tiny"
version = 1
seed = 0
[[attacks]]
id = "pgd-linf-8"
attack = "pgd-linf"
with = { eps = 8, step = 4, steps = 2 }
surrogate = "cifake-cnn"
[[attacks]]
id = "one-pixel"
attack = "one-pixel"
with = { population = 4, generations = 2 }
surrogate = "cifake-cnn"
limit = 4
[[attacks]]
id = "jpeg-75"
attack = "jpeg"
"""


SMALL: dict[str, dict[str, Any]] = {
    "one-pixel": {"population": 8, "generations": 3},
    "k-pixel": {"population": 8, "generations": 3},
    "one-pixel-exhaustive": {"batch": 4096},
    "square-linf": {"queries": 20},
    "square-l2": {"queries": 20},
    "hop-skip-jump-linf": {"queries": 60},
    "hop-skip-jump-l2": {"queries": 60},
    "aa-binary-linf": {"steps": 3, "queries": 20},
    "aa-binary-l2": {"steps": 3, "queries": 20},
    "eot": {"draws": 2},
    "launder-diffusion": {"strength": 0.05},
}


def small(name: str, **numbers: Any) -> Attack:
    """An attack by name, with numbers that make it quick."""
    return load_attack(name, **SMALL.get(name, {}), **numbers)


class Linear(Detector):
    """A detector whose optimal attack is known in closed form."""

    default_card = Card(name="linear", source="tests")

    def __init__(self, weight: Tensor, bias: float, centre: float = 0.0) -> None:
        super().__init__()
        self.centre = centre
        self.weight = nn.Parameter(weight)
        self.bias = bias

    def logits(self, images: Tensor) -> Tensor:
        return ((images - self.centre) * self.weight).sum(dim=(1, 2, 3)) + self.bias


ALLOWED_SKIPS = Path(__file__).parent / "allowed_skips.txt"
_unlisted: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--strict-skips``, which ``make test`` gives."""
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help=f"fail on a skip that is not in {ALLOWED_SKIPS.name}",
    )


def allowed_skip(reason: str) -> bool:
    """Whether a reason for a skip is on the list."""
    lines = (line.strip() for line in ALLOWED_SKIPS.read_text().splitlines())
    return any(reason.startswith(line) for line in lines if line and not line.startswith("#"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note each skip whose reason is not on the list."""
    _note(report.nodeid, report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a whole file that is skipped."""
    _note(report.nodeid, report)


def _note(node: str, report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not allowed_skip(reason):
            _unlisted.append(f"{node}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that skipped for a reason that is not on the list."""
    if session.config.getoption("--strict-skips") and _unlisted:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the skips that are not on the list."""
    if config.getoption("--strict-skips"):
        for line in _unlisted:
            terminalreporter.write_line(
                f"skip that is not in {ALLOWED_SKIPS.name}: {line}", red=True
            )


@pytest.fixture(autouse=True, scope="session")
def quiet_machine() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of the test run's own, so that tests start bare."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["ROBUSTBENCH_AIGI_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> str:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    plan = path.with_name("tiny-plan.toml")
    plan.write_text(TINY_PLAN)
    path.write_text(TINY_RECIPE.format(plan=plan))
    read_recipe(str(path))
    return str(path)


@pytest.fixture(scope="session")
def tiny_suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("suite") / "tiny.toml"
    path.write_text(TINY_SUITE)
    return str(path)


@pytest.fixture
def images() -> Tensor:
    """Four textured images on the grid, ``(4, 3, 32, 32)``."""
    rng = torch.Generator().manual_seed(0)
    return torch.randint(40, 216, (4, 3, 32, 32), generator=rng).float() / 255


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 0, 1])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, with a cache of its own."""
    monkeypatch.setenv("ROBUSTBENCH_AIGI_CACHE", str(tmp_path / "cache"))
    return tmp_path
