"""Training plans: what ships, and what is wrong with one that does not fit."""

import ast
import re
from pathlib import Path

import pytest
import torch

import robustbench_aigi as rb
from robustbench_aigi import catalogue
from robustbench_aigi.data import load_data
from robustbench_aigi.data.recipes import PlusPlusRecipe, read_recipe
from robustbench_aigi.detectors import Detector, detectors, load_detector
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.training_stages import StageImages, TrainingStages
from robustbench_aigi.progress import say_nothing, silent
from robustbench_aigi.training import TrainingJob, methods
from robustbench_aigi.training.plans import TrainingPlan, load_training_plan

PLAIN_JOB = '[[jobs]]\ndetector = "cifake-cnn"\nepochs = 2\n'


def plan_at(folder: Path, jobs: str) -> str:
    """The path of a plan with these jobs."""
    path = folder / "mine.toml"
    path.write_text(f'name = "mine"\nversion = 1\n{jobs}')
    return str(path)


@pytest.mark.parametrize("name", catalogue.names("training_plans"))
def test_a_plan_that_ships_is_read_and_has_the_name_of_its_file(name: str) -> None:
    assert load_training_plan(name).name == name


@pytest.mark.parametrize("name", catalogue.names("datasets"))
def test_the_plan_of_each_recipe_ships(name: str) -> None:
    recipe = read_recipe(name)
    if not isinstance(recipe, PlusPlusRecipe):
        assert load_training_plan(recipe.training_plan)


def test_the_plan_of_mini_trains_what_its_published_checkpoints_were_trained_by() -> None:
    pgd = {"eps": 8.0, "steps": 2}
    fare = {"eps": 4.0, "steps": 2}
    jobs = load_training_plan("mini").jobs
    assert [(job.training_job(0), job.start, job.limit) for job in jobs] == [
        (TrainingJob(detector="cifake-cnn", epochs=30), "cifake", None),
        (TrainingJob(detector="resnet18-c32", epochs=6), "cifake", None),
        (TrainingJob(detector="tinyvit-5m", epochs=4), "cifake", None),
        (TrainingJob(detector="clip-mlp", epochs=5), None, None),
        (TrainingJob(detector="tinyvit-5m", method="static", epochs=1), "tinyvit-5m", None),
        (
            TrainingJob(detector="tinyvit-5m", method="pgd", epochs=3, numbers=pgd),
            "cifake",
            None,
        ),
        (TrainingJob(detector="clip-mlp", method="fare", epochs=2, numbers=fare), "clip-mlp", None),
    ]


def test_the_recipe_seeds_plain_jobs_only_in_plans_that_ship() -> None:
    seeds = {job.name: job.training_job(5).seed for job in load_training_plan("mini").jobs}
    assert {name for name, seed in seeds.items() if seed == 5} == {
        "cifake-cnn",
        "resnet18-c32",
        "tinyvit-5m",
        "clip-mlp",
    }


@pytest.mark.parametrize(
    ("plan", "detector", "method", "epochs"),
    [
        ("mini", "cifake-cnn", "plain", 30),
        ("mini", "convnextv2", "plain", 5),
        ("mini", "tinyvit-5m", "pgd", 6),
        ("mini", "cifake-cnn", "trades", 6),
        ("mini", "cifake-cnn", "adapt", 1),
        ("mini", "clip-mlp", "tecoa", 2),
        ("cifake", "tinyvit-5m", "plain", 10),
        ("cifake", "resnet18-c32", "mixed", 2),
        ("default", "tinyvit-5m", "static", 2),
        ("default", "tinyvit-5m", "plain", 5),
    ],
)
def test_default_epochs_come_from_plan_or_method(
    plan: str, detector: str, method: str, epochs: int
) -> None:
    assert load_training_plan(plan).epochs_for(detector, method) == epochs


FAULTY_JOBS = {
    "no job": ("jobs = []\n", "jobs: expected 1 or more entries, got []"),
    "two of one name": (PLAIN_JOB * 2, "two jobs train cifake-cnn. Leave one of them out."),
    "unknown detector": (
        '[[jobs]]\ndetector = "cifake-cn"\nepochs = 2\n',
        "jobs.0.detector: no detector called 'cifake-cn'. Did you mean cifake-cnn?",
    ),
    "unknown method": (
        f'{PLAIN_JOB}method = "pdg"\n',
        "jobs.0.method: no training method called 'pdg'. Did you mean pgd?",
    ),
    "replay": (f'{PLAIN_JOB}method = "adapt"\n', "jobs.0.method: adapt needs images of two"),
    "number": (f"{PLAIN_JOB}numbers = {{ epz = 8 }}\n", "jobs.0.numbers: training configuration"),
    "start": (
        f'{PLAIN_JOB}start = "cifke"\n',
        "expected an earlier job (none here) or a dataset for which weights of cifake-cnn ship,"
        " got 'cifke'. Leave start out",
    ),
    "start of another detector": (
        f'{PLAIN_JOB}[[jobs]]\ndetector = "resnet18-c32"\nepochs = 1\nstart = "cifake-cnn"\n',
        "resnet18-c32 trains resnet18-c32 and starts from cifake-cnn, which is a cifake-cnn.",
    ),
    "limits of the built set": (
        '[[jobs]]\ndetector = "cifake-cnn"\nmethod = "static"\nepochs = 1\nlimit = 8\n'
        '[[jobs]]\ndetector = "resnet18-c32"\nmethod = "static"\nepochs = 1\n',
        "need one limit; got 8, none.",
    ),
    "method of the defaults": (
        f"{PLAIN_JOB}[train.epochs]\npdg = 2\n",
        "train.epochs: no training method called 'pdg'.",
    ),
}


@pytest.mark.parametrize("case", FAULTY_JOBS)
def test_a_plan_that_cannot_be_trained_is_rejected_when_it_is_read(
    case: str, tmp_path: Path
) -> None:
    jobs, expected = FAULTY_JOBS[case]
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_training_plan(plan_at(tmp_path, jobs))


def test_a_recipe_with_the_old_table_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    path.write_text(
        'name = "old"\nversion = 1\nkind = "labelled"\nlicence = "test"\n'
        "[training]\nadversarial_epochs = 2\n"
    )
    with pytest.raises(ConfigError, match=r"\[training\] is not a table of a recipe") as raised:
        load_data(str(path), str(tmp_path))
    message = str(raised.value)
    command = re.search(r"Type `cp (\S+) my-plan.toml`", message)
    assert command
    assert load_training_plan(command[1]).name == "default"
    assert 'training_plan = "my-plan.toml"' in message


def stages(tmp_path: Path, plan: TrainingPlan, recipe: str) -> TrainingStages:
    """The stages of a plan, on a small dataset."""
    data = load_data(recipe, limit=8)
    suite = rb.load_suite("quick")
    return TrainingStages(plan, suite, data, 0, tmp_path, silent, say_nothing)


def test_a_job_has_the_images_of_its_limit(tmp_path: Path, tiny_recipe: str) -> None:
    jobs = f'{PLAIN_JOB}[[jobs]]\ndetector = "resnet18-c32"\nepochs = 1\nlimit = 4\n'
    plan = load_training_plan(plan_at(tmp_path, jobs))
    images = StageImages(stages(tmp_path, plan, tiny_recipe))
    whole, limited = (images.of(job, {}) for job in plan.jobs)
    assert (len(whole.train.labels), len(limited.train.labels)) == (8, 4)
    assert whole.key != limited.key
    assert images.of(plan.jobs[1], {}) is limited


def test_a_job_waits_for_no_start_that_collapsed(
    tmp_path: Path, tiny_recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = PLAIN_JOB + (
        '[[jobs]]\ndetector = "cifake-cnn"\nmethod = "pgd"\nepochs = 1\nstart = "cifake-cnn"\n'
    )
    plan = load_training_plan(plan_at(tmp_path, jobs))
    monkeypatch.setattr(
        "robustbench_aigi.pipeline.training_stages.train_once",
        lambda *args: Unavailable("collapsed"),
    )
    trained = stages(tmp_path, plan, tiny_recipe).train_all()
    assert trained == {
        "cifake-cnn": Unavailable("collapsed"),
        "robust-cifake-cnn": Unavailable("cifake-cnn, which it starts from, is not there"),
    }


def test_a_job_starts_from_shipped_weights_or_from_an_earlier_job(
    tmp_path: Path, tiny_recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = f'{PLAIN_JOB}start = "cifake"\n' + (
        '[[jobs]]\ndetector = "cifake-cnn"\nmethod = "pgd"\nepochs = 1\nstart = "cifake-cnn"\n'
    )
    begun: list[Detector] = []
    fitted = load_detector("cifake-cnn")

    def noted(job: TrainingJob, data: object, start: Detector, *rest: object) -> Detector:
        begun.append(start)
        return fitted

    monkeypatch.setattr("robustbench_aigi.pipeline.training_stages.train_once", noted)
    plan = load_training_plan(plan_at(tmp_path, jobs))
    stages(tmp_path, plan, tiny_recipe).train_all()
    shipped = load_detector("cifake-cnn", "cifake")
    for name, tensor in begun[0].state_dict().items():
        assert torch.equal(tensor, shipped.state_dict()[name])
    assert begun[1] is fitted


def test_no_code_of_the_pipeline_names_a_detector_or_a_method() -> None:
    names = {*detectors.names(), *methods.names()} - {"plain"}
    for path in (Path(rb.__file__).parent / "pipeline").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant):
                assert node.value not in names, f"{path.name} names {node.value}"
