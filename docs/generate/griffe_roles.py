"""Show Sphinx roles in docstrings, such as ``:class:`Card```, as code in the reference."""

from typing import Any

import griffe
from docstrings import ROLE_TEXT


class PlainRoles(griffe.Extension):
    """Rewrites the docstring of every object that is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Replace roles by the name that they point to."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE_TEXT.sub(
                lambda found: f"`{found[1].rpartition('.')[2]}`", obj.docstring.value
            )
