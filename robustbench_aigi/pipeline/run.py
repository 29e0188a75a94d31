"""The full pipeline: train, build the `++` set, fine-tune adversarially, evaluate, report."""

from pathlib import Path

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import describe_counts, load_data
from robustbench_aigi.data.sources.splits import SPLIT_ORDER
from robustbench_aigi.data.suggestions import load_recipe
from robustbench_aigi.executors import IN_PROCESS, Executor
from robustbench_aigi.io.locks import exclusive_lock
from robustbench_aigi.pipeline.evaluate import evaluate_loaded
from robustbench_aigi.pipeline.training_stages import TrainingStages
from robustbench_aigi.progress import Progress, Say, say_nothing, silent
from robustbench_aigi.report import Matrix
from robustbench_aigi.training.plans import load_training_plan


def run(
    dataset: str,
    out: Path,
    *,
    source: str | None = None,
    limit: int | None = None,
    attacks: str = "quick",
    training_plan: str | None = None,
    convert: bool = False,
    speedups: bool = True,
    executor: Executor = IN_PROCESS,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> Matrix:
    """Run the full pipeline. Rerun with the same folder to resume.

    Args:
        dataset: name or path of a recipe.
        out: folder of all results.
        source: where the images are; None where the recipe says.
        limit: maximum number of images per split.
        attacks: name or path of a suite.
        training_plan: name or path of a training plan; the recipe's if None.
        convert: as in :func:`~robustbench_aigi.data.load_data`.
        speedups: as in :func:`~robustbench_aigi.pipeline.evaluate.evaluate`.
        executor: of the attacks.
        progress: called after each item of work.
        say: called with each line for the user.

    Raises:
        UserError: the request cannot be met; nothing that is finished is lost.
    """
    suite = load_suite(attacks)
    recipe = load_recipe(dataset)
    plan = load_training_plan(training_plan or recipe.training_plan)
    skipped = out / "skipped.csv"
    with exclusive_lock(out):
        data = load_data(recipe, source, SPLIT_ORDER, limit, skipped, progress, convert)
        say(describe_counts(data, skipped))
        data.manifest.to_parquet(out / "data.parquet", index=False)
        stages = TrainingStages(plan, suite, data, recipe.seed, out, progress, say)
        return evaluate_loaded(
            stages.train_all(),
            suite,
            data.split("test"),
            out,
            speedups=speedups,
            executor=executor,
            progress=progress,
            say=say,
        )
