"""Read Markdown files as the tests of the documentation need them: code blocks, headings, links."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

NOT_RUN = re.compile(r"<!--\s*not run: (?P<reason>.+?)\s*-->")
FENCE_TITLE = re.compile(r'title="([^"]+)"')
HTML_ANCHOR = re.compile(r'<a [^>]*?(?:id|name)="([^"]+)"')


class Block(NamedTuple):
    """A code block.

    Attributes:
        line: where it begins, from 1.
        language: such as ``python``; empty for an indented block.
        title: name of the file that the block shows; empty if it is not a file.
        text: the code.
        not_run: the reason why it is not run; None if it is.
    """

    line: int
    language: str
    title: str
    text: str
    not_run: str | None


def parse(text: str) -> list[Token]:
    """Tokens of a Markdown text, tables included."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def blocks_in(text: str) -> list[Block]:
    """Code blocks of a Markdown text, in order."""
    found: list[Block] = []
    reason: str | None = None
    for token in parse(text):
        if token.type in ("fence", "code_block"):
            language, _, rest = token.info.strip().partition(" ")
            title = FENCE_TITLE.search(rest)
            line = (token.map or [0])[0] + 1
            found.append(Block(line, language, title[1] if title else "", token.content, reason))
        if token.type == "html_block":
            comment = NOT_RUN.search(token.content)
            reason = comment["reason"] if comment else None
        elif token.level == 0:
            reason = None
    return found


def commands_in(text: str) -> list[str]:
    """Commands of a block: continued lines joined, comments and empty lines left out."""
    joined = text.replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines()]
    return [" ".join(line.split()) for line in lines if line]


def heading_text(token: Token) -> str:
    """Text of a heading without its markup."""
    return "".join(
        part.content for part in token.children or [] if part.type in ("text", "code_inline")
    )


def anchors_in(text: str) -> set[str]:
    """Anchors of a Markdown text, as GitHub and as Python-Markdown make them of headings."""
    found = set(HTML_ANCHOR.findall(text))
    counts: dict[str, int] = {}
    tokens = parse(text)
    for place, token in enumerate(tokens):
        if token.type != "heading_open":
            continue
        title = heading_text(tokens[place + 1]).strip().lower()
        github = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        site = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title)).strip("-")
        for slug in {github, site}:
            number = counts.get(slug, 0)
            found.add(f"{slug}-{number}" if number else slug)
            counts[slug] = number + 1
    return found


def links_in(text: str) -> Iterator[tuple[int, str]]:
    """Line and target of each link and picture of a Markdown text."""
    for token in parse(text):
        line = (token.map or [0])[0] + 1
        for part in token.children or []:
            target = part.attrGet("href") or part.attrGet("src")
            if isinstance(target, str):
                yield line, target


def markdown_files(root: Path, *places: str) -> list[Path]:
    """Markdown files at or below places of a checkout."""
    found: list[Path] = []
    for place in places:
        path = root / place
        found += [path] if path.is_file() else sorted(path.rglob("*.md"))
    return found
