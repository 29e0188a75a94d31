"""Show what docstrings contain besides Google's sections: Sphinx roles, and ``Example:``."""

from typing import Any

import griffe
from docstrings import to_reference


class PlainRoles(griffe.Extension):
    """Rewrites the docstring of every object that is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = to_reference(obj.docstring.value)
