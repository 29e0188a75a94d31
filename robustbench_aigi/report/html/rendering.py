"""Templates to pages: what they are given is text, never markup."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def rendered(template: str, **given: Any) -> str:
    """A page that holds all it needs."""
    loader = PackageLoader("robustbench_aigi.report.html")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**given)
