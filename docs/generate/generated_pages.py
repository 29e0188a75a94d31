"""All pages that are generated from the code, and where they stand in the navigation."""

from typing import Any

from attack_pages import attack_pages, names_by_access
from command_page import command_pages
from detector_pages import detector_pages

from robustbench_aigi.detectors import detectors


def generated_pages() -> dict[str, str]:
    """Return the generated pages: path below ``docs/`` to Markdown."""
    return {**attack_pages(), **detector_pages(), **command_pages()}


def navigation() -> dict[str, list[Any]]:
    """Return the entries of the sections of the navigation whose pages are generated."""
    by_access = [
        {title: [f"attacks/{name}.md" for name in names]}
        for title, names in names_by_access().items()
    ]
    return {
        "Attacks": ["attacks/index.md", *by_access],
        "Detectors": ["detectors/index.md", *(f"detectors/{n}.md" for n in detectors.names())],
    }
