"""The parts of a docstring: what a component does, its source, and its parameters."""

import inspect
import re
from dataclasses import dataclass, field
from itertools import takewhile

SECTION_HEAD = re.compile(
    r"(Args|Attributes|Returns|Raises|Yields|Example|Examples|Note|Sources?):$"
)
SOURCE_TEXT = re.compile(r"\bSources?: *(.*?)(?=\n\s*\n|\Z)", re.DOTALL)
ENTRY_HEAD = re.compile(r"(\*{0,2}\w+(?:, \w+)*): +(.*)")
ROLE_TEXT = re.compile(r":[a-z]+:`~?([^`]+)`")


@dataclass(frozen=True)
class Docstring:
    """The parts of a docstring, as Markdown.

    Attributes:
        text: paragraphs before the first section, without the source.
        source: where the method was published; empty if the docstring does not say.
        parameters: name of a parameter to what it means.
    """

    text: str = ""
    source: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def to_markdown(text: str) -> str:
    """Return a docstring's text as Markdown: roles and double backquotes become code.

    Example:
        >>> to_markdown("see :class:`~a.b.C` and ``d``")
        'see `C` and `d`'
    """
    named = ROLE_TEXT.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return named.replace("``", "`")


def to_reference(text: str) -> str:
    """Return a docstring as the reference's parser expects it, which calls examples ``Examples``.

    Example:
        >>> to_reference("Example:")
        'Examples:'
    """
    named = ROLE_TEXT.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return re.sub(r"^(\s*)Example:$", r"\1Examples:", named, flags=re.MULTILINE)


def docstring_of(component: type) -> Docstring:
    """Return the parts of a class's docstring; what it lacks comes from the classes above it.

    Args:
        component: a class; its ``__init__`` may describe parameters too.
    """
    own = inspect.cleandoc(component.__doc__ or "")
    source = ""
    parameters: dict[str, str] = {}
    for cls in component.__mro__[:-1]:
        for described in (cls.__doc__, vars(cls).get("__init__", cls).__doc__):
            text = inspect.cleandoc(described or "")
            parameters = parameters_in(text) | parameters
            source = source or source_in(text)
    return Docstring(paragraphs_in(own), source, parameters)


def paragraphs_in(text: str) -> str:
    """Return the paragraphs before the first section, without the source."""
    lines = takewhile(lambda line: not SECTION_HEAD.match(line), text.splitlines())
    plain = SOURCE_TEXT.sub("", "\n".join(lines))
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", plain)]
    return to_markdown("\n\n".join(filter(None, paragraphs)))


def source_in(text: str) -> str:
    """Return what follows ``Source:``, on one line; empty if nothing does."""
    found = SOURCE_TEXT.search(text)
    return to_markdown(" ".join(found[1].split())) if found else ""


def parameters_in(text: str) -> dict[str, str]:
    """Return the entries of the sections ``Args`` and ``Attributes``.

    Args:
        text: a docstring of which common indentation is removed.

    Example:
        >>> parameters_in("Do it.\\n\\nArgs:\\n    eps: how far.\\n    a, b: the\\n        rest.")
        {'eps': 'how far.', 'a': 'the rest.', 'b': 'the rest.'}
    """
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith(" "):
            inside = line in ("Args:", "Attributes:") or (inside and not line.strip())
            continue
        entry = ENTRY_HEAD.fullmatch(line.strip()) if line.startswith("    ") else None
        if inside and entry and not line.startswith("     "):
            names = entry[1].lstrip("*").split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif inside:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: to_markdown(meaning) for name, meaning in found.items()}
