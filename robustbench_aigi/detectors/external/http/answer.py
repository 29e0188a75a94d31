"""Reading an endpoint's answer: the number or the word at a path, a class chosen by its name, the
scale.
"""

import math
import re
import sys
from typing import Any, Literal, NamedTuple

from robustbench_aigi.detectors.external.http.spec import Scale, Verdict
from robustbench_aigi.errors import LogitsError, UserError

PATH_PART = re.compile(r"(?:^|\.)([^.\[\]=]+)|\[(\d+)\]|\[([^\[\]=]+)=([^\[\]]+)\]")
LABEL_KEYS = ("label", "class")
"""Keys under which an entry of a list says which class its score is of."""
OTHER_LABEL_KEYS = ("prediction", "verdict", "category", "name", "tag")
"""Keys that may say that, too; a list of one entry may be of files, with their names."""
MAX_SHOWN = 8
"""Labels and keys that a message shows."""
RANGES: dict[Scale, tuple[float, float]] = {
    "probability": (0.0, 1.0),
    "percent": (0.0, 100.0),
    "logit": (-math.inf, math.inf),
}


class AnswerPart(NamedTuple):
    """A step of a path: a key or an index, or a choice of entries of a list whose ``key`` is one of
    ``labels``.
    """

    key: str
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"[{self.key}={'|'.join(self.labels)}]" if self.labels else self.key


def parsed(path: str) -> list[AnswerPart]:
    """Return the parts of a path such as ``output.0.classes[class=ai_generated].value``.

    Raises:
        UserError: it cannot be read, or chooses by name twice.
    """
    parts, end = [], 0
    for match in PATH_PART.finditer(path):
        if match.start() != end:
            break
        end = match.end()
        labels = tuple(match[4].split("|")) if match[4] else ()
        parts.append(AnswerPart(match[3] or match[1] or match[2], labels))
    if (
        end != len(path)
        or path.startswith(".")
        or not parts
        or sum(bool(part.labels) for part in parts) > 1
    ):
        raise UserError(
            f"{path!r} is no path of a number in an answer. Write one such as 'result.score',"
            " 'scores.0' or 'classes[class=ai_generated].value'."
        )
    return parts


def found_at(answer: Any, path: str, who: str) -> list[Any]:
    """Return what a JSON value has at a path: one value, or one for each label that the path names.

    Raises:
        LogitsError: a part or a label is missing; or an index chooses from a list of labels, whose
            order may be that of the scores.
    """
    found = [answer]
    for part in parsed(path):
        found = [value for item in found for value in _step(item, part, path, who)]
    return found


def _step(item: Any, part: AnswerPart, path: str, who: str) -> list[Any]:
    if part.labels:
        return _chosen(item, part, path, who)
    if isinstance(item, dict) and part.key in item:
        return [item[part.key]]
    if isinstance(item, list) and part.key.isdecimal() and int(part.key) < len(item):
        _check_unlabelled(item, part.key, path, who)
        return [item[int(part.key)]]
    there = f", only {_shown(list(item))}" if isinstance(item, dict) else ""
    raise LogitsError(
        f"the answer of {who} has no {part.key!r} of {path!r}{there}. Write the path of the number:"
        " score='a.0.b'."
    )


def _chosen(item: Any, part: AnswerPart, path: str, who: str) -> list[Any]:
    entries = item if isinstance(item, list) else []
    known = {
        str(entry[part.key]): entry
        for entry in entries
        if isinstance(entry, dict) and part.key in entry
    }
    missing = [label for label in part.labels if label not in known]
    if missing:
        raise LogitsError(
            f"the answer of {who} has no {part.key} {' or '.join(map(repr, missing))} at"
            f" {str(part)!r} of {path!r}; it has"
            f" {_shown(list(known)) or 'no list of such entries'}. Write one of these."
        )
    if len(known) < len(entries):
        raise LogitsError(
            f"in the answer of {who} several entries, or some without one, share a {part.key} at"
            f" {str(part)!r} of {path!r}. Write a path that chooses one: score='a.0.b'."
        )
    return [known[label] for label in part.labels]


def _check_unlabelled(items: list[Any], index: str, path: str, who: str) -> None:
    """An index into labelled scores is, where they are sorted, the top label's score, whichever
    label that is.
    """
    for key in LABEL_KEYS if len(items) == 1 else LABEL_KEYS + OTHER_LABEL_KEYS:
        if all(isinstance(entry, dict) and isinstance(entry.get(key), str) for entry in items):
            rest = path.partition(f"{index}.")[2]
            labels = _shown([entry[key] for entry in items])
            raise LogitsError(
                f"{path!r} is the score of whichever {key} is number {index} in the answer of"
                f" {who}, and services sort by score: it would change its meaning from image to"
                f" image. Write the {key} that means AI-generated, as in"
                f" '[{key}=NAME]{'.' if rest else ''}{rest}'; the answer has {labels}."
            )


def number_at(answer: Any, path: str, who: str) -> float:
    """Return the number at a path of a JSON value, the sum where the path names several labels.

    Raises:
        LogitsError: it is missing, is no number, or is NaN or infinite.
    """
    values = found_at(answer, path, who)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LogitsError(
                f"{path!r} in the answer of {who} is {type(value).__name__}, no number. Write"
                " another path; for words, a table of verdicts."
            )
        if not -sys.float_info.max <= value <= sys.float_info.max:
            raise LogitsError(
                f"{path!r} in the answer of {who} is NaN or infinite. Ask the service why."
            )
    return float(sum(values))


def label_beside(answer: Any, path: str) -> str:
    """Return the label that stands in the same entry as the number at a path; empty if there is
    none.
    """
    entry = answer
    for part in parsed(path)[:-1]:
        entry, *more = _step(entry, part, path, "")
        if part.labels or more:
            return ""
    found = (
        [entry.get(key) for key in LABEL_KEYS + OTHER_LABEL_KEYS] if isinstance(entry, dict) else []
    )
    return next((label for label in found if isinstance(label, str)), "")


def checked_number(value: float, scale: Scale, who: str) -> float:
    """Return a score that its scale allows. Raises ``LogitsError`` naming the scale that would
    allow it.
    """
    least, most = RANGES[scale]
    if least <= value <= most:
        return value
    if least - 1e-6 <= value <= most + 1e-6 * most:  # a sum of rounded shares
        return min(max(value, least), most)
    likely = "percent" if 0 <= value <= 100 else "logit"
    kind = "no probability" if scale == "probability" else "no percentage"
    raise LogitsError(
        f"{who} gave {value:g}, which is {kind}. If it gives"
        f" {'percentages' if likely == 'percent' else 'logits'}, write scale='{likely}'."
    )


def verdict_at(answer: Any, path: str, verdicts: dict[str, Verdict], who: str) -> Verdict:
    """Return what the word at a path means. Raises ``LogitsError`` for a word that the table does
    not have.
    """
    word, *more = found_at(answer, path, who)
    text = str(word).lower() if isinstance(word, bool) else word
    if more or not isinstance(text, str) or text not in verdicts:
        shown = repr(text)[:40] if isinstance(text, str) else type(word).__name__
        raise LogitsError(
            f"{path!r} in the answer of {who} is {shown}, and the verdicts known are"
            f" {', '.join(verdicts)}. Add it to the table: 1 for AI-generated, 0 for real, or"
            ' "abstain".'
        )
    return verdicts[text]


def outcome(abstain_as: Literal["real", "fake", "error"], who: str) -> Literal[0, 1]:
    """Return what an image without a verdict counts as. Raises ``LogitsError`` where it is to end
    the row.
    """
    if abstain_as == "error":
        raise LogitsError(
            f"{who} gave no verdict on an image. Write abstain_as='real' to count it as not"
            " recognised."
        )
    return 1 if abstain_as == "fake" else 0


def _shown(names: list[str]) -> str:
    texts = [str(name)[:40] for name in names]
    return ", ".join(texts[:MAX_SHOWN]) + (", ..." if len(texts) > MAX_SHOWN else "")
