"""What is wrong with a folder that is not read: what was found, and what was expected."""

from collections.abc import Mapping
from pathlib import Path

from robustbench_aigi.data.sources.entry import printable
from robustbench_aigi.data.sources.layouts import candidate_layouts
from robustbench_aigi.data.sources.metadata import TABLE_NAMES
from robustbench_aigi.data.sources.positions import list_few
from robustbench_aigi.data.sources.survey import Survey
from robustbench_aigi.data.sources.terms import Terms
from robustbench_aigi.errors import DataError

TABLE_GROUPS = frozenset({"*.csv", "*.tsv", "*.jsonl", "*.xlsx", "*.xls", "*.ods"})
"""Groups of other files, as :class:`Survey` counts them, that may be tables of labels."""


def describe_unfit(path: Path, survey: Survey, terms: Terms) -> str:
    """Return what is wrong with a folder that no layout fits.

    Args:
        path: of the folder.
        survey: what it holds.
        terms: the recipe's words.
    """
    folders = sorted(survey.images)
    shown = list_few([printable(name) or "the folder itself" for name in folders])
    expected = " or ".join(layout.shown for layout in candidate_layouts(terms).values())
    links = ""
    if survey.links:
        links = (
            f" Not followed are the links {list_few(survey.links)}: put the folders themselves"
            " there."
        )
    others = ""
    if survey.others and not folders:
        counts = [f"{count} {group}" for group, count in survey.others.most_common()]
        others = f" Passed over: {list_few(counts)}."
    tables = list_few(sorted(group for group in survey.others if group in TABLE_GROUPS))
    if tables:
        others += (
            f" There are tables ({tables}): one of labels is read if it is metadata.csv, with"
            " file_name and label."
        )
    return (
        f"{path} has no train or test folder, or no class folder, with images. Found images in:"
        f" {shown or 'no folder'}. Expected {expected},"
        f" with the classes {', '.join(terms.labels)}; other names go into the recipe, under"
        f" [labels] and [splits].{links}{others}"
    )


def no_table_error(path: Path, faults: Mapping[Path, str]) -> DataError:
    """Return the error for a folder without the table of labels that its recipe asks for.

    Args:
        path: of the folder.
        faults: table to what is wrong with it.
    """
    found = "".join(f" {table} {fault}." for table, fault in faults.items())
    return DataError(
        f"{path} has no {' or '.join(TABLE_NAMES)} with the columns file_name and label.{found}"
        " Write one, or sort the images into class folders."
    )
