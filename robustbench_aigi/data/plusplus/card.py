"""The dataset card of a built `++` set: README.md with the metadata that Hugging Face reads."""

from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import DatasetCardData

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.attacks.base import Budget
from robustbench_aigi.data.plusplus.budgets import budgets
from robustbench_aigi.data.plusplus.reader import CLASSES, Built
from robustbench_aigi.data.recipes import Recipe
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.markdown import table_head, table_row

LICENCES = (
    "mit",
    "apache-2.0",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "gpl-3.0",
)
"""Identifiers that Hugging Face knows; any other licence is given by its text."""
SIZES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
}

TEXT = """---
{metadata}---

# {title}

{about}

{counts}

Label 0 is a real photograph (folder `REAL`), label 1 an AI-generated image (folder `FAKE`). A
perturbed image keeps the label of its source. Clean images keep their original bytes (converted
ones, named in the column `convert`, are PNG); perturbed ones are 8-bit RGB PNG. All images that
come from one original, its parent, are in the same split.

## How it was made

    {command}

Suite `{suite}` version {version}, seed {seed}:

{attacks}

{surrogates}

## Columns

`manifest.parquet` and `manifest.jsonl` have one row per image. `id`, `label`, `split`, `generator`,
`category`, `attack`: what it is. `source` and `parent_sha256`: id and SHA-256 of the clean image it
was made from; `parent`: what both were made from. `surrogate`, `surrogate_sha256`, `seed`, `eps`:
how it was attacked; `eps` is in grey levels of 255 for L-inf, and in the norm over pixels in [0, 1]
for L2. `linf` (grey levels), `l2` (norm of the whole change, pixels in [0, 1]), `l0` (changed
pixels), `psnr` (dB), `ssim`: distance from its source. `fooled`: whether the surrogate was wrong
about it. `forwards`, `backwards`: passes spent. `path`, `sha256`: its file.

## How to read it

    datasets.load_dataset("imagefolder", data_dir="PATH")

## How to check it

    robustbench-aigi verify PATH

reads every file again: SHA-256, pixels, format, labels, splits, and each change against its
source and its budget.

## Licences

{licence}
"""


def write_card(built: Path, recipe: Recipe, command: str) -> None:
    """Write ``README.md`` into a built set.

    Args:
        recipe: of the images that it was made from, for name, licence and homepage.
        command: what was typed to make it.

    Raises:
        DataError: ``built`` holds no whole manifest or suite.
    """
    the_set = Built(built)
    suite, facts = the_set.suite(), _facts(the_set)
    title = f"{recipe.name}++"
    home = f" ({recipe.homepage})" if recipe.homepage else ""
    text = TEXT.format(
        metadata=_metadata(the_set, recipe, title),
        title=title,
        about=(
            f"Images of `{recipe.name}`{home} and perturbed copies of them, made to test detectors"
            f" of AI-generated images: {len(the_set)} images."
        ),
        counts=_markdown(_counts(the_set)),
        command=command,
        suite=suite.name,
        version=suite.version,
        seed=suite.seed,
        attacks=_markdown(_attacks(suite, facts)),
        surrogates=_surrogates(facts),
        licence=(
            f"Images of `{recipe.name}`, and so what was made of them: {recipe.licence}. They stay"
            " under the terms of their source; the changes add no terms of their own."
        ),
    )
    write_text(built / "README.md", text)


def _metadata(built: Built, recipe: Recipe, title: str) -> str:
    licence = recipe.licence.lower()
    files = [{"split": split, "path": f"{split}/**"} for split in built.counts()]
    about: dict[str, Any] = {"configs": [{"config_name": "default", "data_files": files}]}
    if licence not in LICENCES:
        about["license_name"] = recipe.licence
    data = DatasetCardData(
        pretty_name=title,
        license=licence if licence in LICENCES else "other",
        task_categories=["image-classification"],
        size_categories=[
            next((name for most, name in SIZES.items() if len(built) < most), "n>10M")
        ],
        tags=["ai-generated-image-detection", "adversarial-robustness"],
        **about,
    )
    return f"{data.to_yaml()}\n"


def _counts(built: Built) -> pd.DataFrame:
    """Images by split and attack, in the manifest's order, a column a class."""
    keys = ["split", "attack", "label"]
    groups = built.table(*keys).group_by(keys, use_threads=False)
    long: pd.DataFrame = groups.aggregate([([], "count_all")]).to_pandas()
    wide = long.pivot_table(
        index=keys[:2], columns="label", values="count_all", fill_value=0, sort=False
    )
    counts = wide.reindex(columns=[0, 1], fill_value=0).set_axis(list(CLASSES), axis=1)
    return counts.astype(int).reset_index()


def _facts(built: Built) -> pd.DataFrame:
    """A row an attack and surrogate: largest and mean changes, and how often the surrogate was
    fooled.
    """
    keys = ["attack", "surrogate", "surrogate_sha256"]
    table = built.table(*keys, "linf", "l2", "fooled")
    measured = [("linf", "max"), ("l2", "mean")] + [("fooled", "mean")] * (
        "fooled" in table.column_names
    )
    facts: pd.DataFrame = table.group_by(keys, use_threads=False).aggregate(measured).to_pandas()
    return facts if "fooled_mean" in facts else facts.assign(fooled_mean=float("nan"))


def _attacks(suite: Suite, facts: pd.DataFrame) -> pd.DataFrame:
    """A row an attack and surrogate, in the suite's order: what it was, may do at most, and did."""
    limits, lines = budgets(suite), []
    for row in suite.rows:
        for found in facts[facts["attack"] == row.id].to_dict("records"):
            lines.append(
                {
                    "attack": row.id,
                    "what": _numbers(row),
                    "surrogate": found["surrogate"] or "none",
                    "budget": _limit(limits.get(row.id, Budget())),
                    "largest linf": found["linf_max"],
                    "mean l2": f"{found['l2_mean']:.3f}",
                    "surrogate fooled": (
                        "" if pd.isna(found["fooled_mean"]) else f"{found['fooled_mean']:.1%}"
                    ),
                }
            )
    return pd.DataFrame(lines)


def _numbers(row: SuiteRow) -> str:
    numbers = ", ".join(f"{name} = {value}" for name, value in row.numbers.items())
    return f"{row.attack} ({numbers})" if numbers else row.attack


def _limit(budget: Budget) -> str:
    """The most that an attack may change, with its unit."""
    parts = [] if budget.linf is None else [f"L-inf {budget.linf:g} grey levels of 255"]
    parts += [] if budget.l2 is None else [f"L2 {budget.l2:g}, pixels in [0, 1]"]
    parts += [] if budget.l0 is None else [f"L0 {budget.l0} pixels"]
    return "; ".join(parts) or "none"


def _surrogates(facts: pd.DataFrame) -> str:
    used = facts.loc[facts["surrogate"] != "", ["surrogate", "surrogate_sha256"]].drop_duplicates()
    if used.empty:
        return "No surrogate was used."
    lines = [
        f"- `{name}`: SHA-256 of the weights `{sha256}`"
        for name, sha256 in used.itertuples(index=False)
    ]
    return "\n".join(["Surrogates, the detectors that were attacked:", "", *lines])


def _markdown(table: pd.DataFrame) -> str:
    return "\n".join(
        [*table_head(table.columns), *map(table_row, table.astype(str).to_numpy().tolist())]
    )
