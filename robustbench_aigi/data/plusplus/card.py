"""The dataset card of a built ``++`` set: README.md with the metadata that Hugging Face reads."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from huggingface_hub import DatasetCardData

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.attacks.base import Budget
from robustbench_aigi.config.relative_size import RelativeSize
from robustbench_aigi.data.plusplus.budgets import budgets
from robustbench_aigi.data.plusplus.card_template import CARD_TEMPLATE
from robustbench_aigi.data.plusplus.reader import CLASS_FOLDERS, BuiltDataset
from robustbench_aigi.data.recipes import Recipe
from robustbench_aigi.imaging.quality import rms_of_psnr
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.markdown import table_head, table_row

HUB_LICENCES = (
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
SIZE_CATEGORIES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
}
"""Number of images to Hugging Face's name of smaller sets."""
LARGEST_CATEGORY = "n>10M"


def write_card(built: Path, recipe: Recipe, command: str) -> None:
    """Write ``README.md`` into a built set.

    Args:
        built: folder of the set.
        recipe: of the images that it was made from, for name, licence and homepage.
        command: what was typed to make it.

    Raises:
        DataError: ``built`` holds no whole manifest or suite.
    """
    the_set = BuiltDataset(built)
    suite = the_set.suite()
    facts = _facts(the_set)
    title = f"{recipe.name}++"
    homepage = f" ({recipe.homepage})" if recipe.homepage else ""
    text = CARD_TEMPLATE.format(
        metadata=_metadata(the_set, recipe, title),
        title=title,
        about=(
            f"Images of `{recipe.name}`{homepage} and perturbed copies of them, made to test"
            f" detectors of AI-generated images: {len(the_set)} images."
        ),
        counts=_markdown(_counts(the_set)),
        command=command,
        suite=suite.name,
        version=suite.version,
        seed=suite.seed,
        attacks=_markdown(pd.DataFrame(_attacks(suite, facts))),
        surrogates=_surrogates(facts),
        licence=(
            f"Images of `{recipe.name}`, and so what was made of them: {recipe.licence}. They stay"
            " under the terms of their source; the changes add no terms of their own."
        ),
    )
    write_text(built / "README.md", text)


def _metadata(built: BuiltDataset, recipe: Recipe, title: str) -> str:
    licence = recipe.licence.lower()
    is_known = licence in HUB_LICENCES
    files = [{"split": split, "path": f"{split}/**"} for split in built.counts()]
    more: dict[str, Any] = {"configs": [{"config_name": "default", "data_files": files}]}
    if not is_known:
        more["license_name"] = recipe.licence
    sizes = SIZE_CATEGORIES.items()
    data = DatasetCardData(
        pretty_name=title,
        license=licence if is_known else "other",
        task_categories=["image-classification"],
        size_categories=[
            next((name for limit, name in sizes if len(built) < limit), LARGEST_CATEGORY)
        ],
        tags=["ai-generated-image-detection", "adversarial-robustness"],
        **more,
    )
    return f"{data.to_yaml()}\n"


def _counts(built: BuiltDataset) -> pd.DataFrame:
    """Return images by split and attack, in the manifest's order, one column per class."""
    keys = ["split", "attack", "label"]
    groups = built.table(*keys).group_by(keys, use_threads=False)
    long: pd.DataFrame = groups.aggregate([([], "count_all")]).to_pandas()
    wide = long.pivot_table(
        index=keys[:2], columns="label", values="count_all", fill_value=0, sort=False
    )
    counts = wide.reindex(columns=[0, 1], fill_value=0).set_axis(list(CLASS_FOLDERS), axis=1)
    return counts.astype(int).reset_index()


def _facts(built: BuiltDataset) -> pd.DataFrame:
    """Return one row per attack and surrogate: how large changes are, how often it was fooled."""
    keys = ["attack", "surrogate", "surrogate_sha256"]
    table = built.table(*keys, "linf", "l2", "psnr", "fooled")
    measured = [("linf", "max"), ("l2", "mean")]
    if "psnr" in table.column_names:
        levels = rms_of_psnr(table["psnr"].to_pandas().to_numpy(dtype=np.float64))
        table = table.append_column("rms", pa.array(levels))
        measured.append(("rms", "mean"))
    has_fooled = "fooled" in table.column_names
    if has_fooled:
        measured.append(("fooled", "mean"))
    facts: pd.DataFrame = table.group_by(keys, use_threads=False).aggregate(measured).to_pandas()
    return facts if has_fooled else facts.assign(fooled_mean=float("nan"))


def _attacks(suite: Suite, facts: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield one row per attack and surrogate, in the suite's order: its numbers, limit, effect."""
    limits = budgets(suite)
    for row in suite.rows:
        for found in facts[facts["attack"] == row.id].to_dict("records"):
            fooled = found["fooled_mean"]
            yield {
                "attack": row.id,
                "what": _numbers(row),
                "surrogate": found["surrogate"] or "none",
                "budget": _limit(limits.get(row.id, Budget())),
                "largest linf": found["linf_max"],
                "mean l2": f"{found['l2_mean']:.3f}",
                "mean RMS": f"{found.get('rms_mean', math.nan):.2f}",
                "surrogate fooled": "" if pd.isna(fooled) else f"{fooled:.1%}",
            }


def _numbers(row: SuiteRow) -> str:
    numbers = ", ".join(f"{name} = {value}" for name, value in row.numbers.items())
    return f"{row.attack} ({numbers})" if numbers else row.attack


def _limit(budget: Budget) -> str:
    """Return the most that an attack may change, with its unit."""
    parts = []
    if budget.linf is not None:
        parts.append(f"L-inf {budget.linf:g} grey levels of 255")
    if isinstance(budget.l2, RelativeSize):
        parts.append(f"L2 of {budget.l2.amount:g} grey levels RMS")
    elif budget.l2 is not None:
        parts.append(f"L2 {budget.l2:g}, pixels in [0, 1]")
    if budget.l0 is not None:
        share = " of the" if isinstance(budget.l0, RelativeSize) else ""
        parts.append(f"L0 {budget.l0}{share} pixels")
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
    rows = table.astype(str).to_numpy().tolist()
    return "\n".join([*table_head(table.columns), *map(table_row, rows)])
