"""Which outputs of a classifier mean AI-generated: read from the words of its labels, or given;
never guessed.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from robustbench_aigi.detectors.external.outputs import check_output_spec
from robustbench_aigi.errors import UserError


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FAKE_WORDS = _set(
    "fake fakes deepfake deepfakes ai aigc aigen aigenerated artificial synthetic synthetics"
)
REAL_WORDS = _set("real reals human humans hum nature natural camera authentic authentics genuine")
WEAK_FAKE_WORDS = _set("generated")
WEAK_REAL_WORDS = _set("photo photos photograph photographs original originals realism")
"""Words that tell only where no stronger word of their label contradicts: an "AI photo" is no
photo.
"""

NEGATIONS = _set("no not non")
HEDGES = _set("un anti pseudo semi quasi hyper near partly or vs versus maybe and")
"""Words with which a label means neither class."""

HUMAN_MADE = re.compile(r"\b(human|humans|hum) (generated|made|created)\b")


class LabelGroups(NamedTuple):
    """Outputs that mean AI-generated, and those that mean real; with one output one of the two is
    empty.
    """

    fake: tuple[int, ...]
    real: tuple[int, ...]

    def logit(self, outputs: Tensor) -> Tensor:
        """``(N,)``: log-sum-exp of the AI-generated outputs ``(N, K)`` minus that of the real
        ones.
        """
        return _pooled(outputs, self.fake) - _pooled(outputs, self.real)

    def describe(self, labels: Mapping[int, str]) -> str:
        """The logit in words, for the card."""
        if len(labels) == 1:
            return (
                f"the only output, {labels[0]!r}: high means"
                f" {'AI-generated' if self.fake else 'real'}"
            )
        return " minus ".join(_described([labels[i] for i in group]) for group in self)


def group_labels(
    labels: Mapping[int, str],
    model: str,
    fake_index: int | None = None,
    fake_labels: Sequence[str] | str | None = None,
) -> LabelGroups:
    """Divide outputs into those that mean AI-generated and those that mean real.

    Args:
        labels: names of the outputs, by their index.
        model: its address after ``hf:``, for messages.
        fake_index: of one or two outputs, the answer where the user has it; with one output 1 if
            high means AI-generated, 0 if it means real.
        fake_labels: the names of all labels that mean AI-generated, or these joined by commas.

    Raises:
        UserError: the words of the labels do not tell, or what is given does not fit the labels.
    """
    if fake_index is not None and fake_labels is not None:
        raise UserError("fake_index and fake_labels were both given. Give one of them.")
    if fake_labels is not None:
        return _given_labels(labels, model, fake_labels)
    if fake_index is not None:
        return _given_index(labels, model, fake_index)
    read = {
        index: _meaning(label, [other for i, other in labels.items() if i != index])
        for index, label in labels.items()
    }
    fakes, reals = (tuple(i for i in labels if read[i] == meaning) for meaning in ("fake", "real"))
    if len(fakes) + len(reals) == len(labels) and (len(labels) == 1 or (fakes and reals)):
        return LabelGroups(fakes, reals)
    raise UserError(
        f"the labels of {model} are {dict(labels)}, and their words do not tell which mean"
        " AI-generated. " + _way_on(labels, model)
    )


def _given_index(labels: Mapping[int, str], model: str, fake_index: int) -> LabelGroups:
    if len(labels) > 2:
        raise UserError(
            f"{model} has {len(labels)} labels, {', '.join(labels.values())}, and fake_index is for"
            " one or two. " + _way_on(labels, model)
        )
    check_output_spec(fake_index, "logit")
    if len(labels) == 1:
        return LabelGroups((0,), ()) if fake_index else LabelGroups((), (0,))
    return LabelGroups((fake_index,), (1 - fake_index,))


def _given_labels(labels: Mapping[int, str], model: str, given: Sequence[str] | str) -> LabelGroups:
    if isinstance(given, str):
        given = [given] if given in labels.values() else [name.strip() for name in given.split(",")]
    fakes = set()
    for name in given:
        same = [i for i, label in labels.items() if label == name]
        same = same or [
            i for i, label in labels.items() if label.casefold() == str(name).casefold()
        ]
        if len(same) != 1:
            raise UserError(
                f"{model} has no label {name!r}. Its labels are {', '.join(labels.values())}. Write"
                " one of them."
            )
        fakes.add(same[0])
    if not fakes or len(fakes) == len(labels):
        raise UserError(
            f"fake_labels must name some of the labels of {model}, and not all:"
            f" {', '.join(labels.values())}. Got {', '.join(given) or 'none'}. "
            + _way_on(labels, model)
        )
    return LabelGroups(tuple(sorted(fakes)), tuple(i for i in sorted(labels) if i not in fakes))


def _way_on(labels: Mapping[int, str], model: str) -> str:
    """What to write, where it is not known which labels mean AI-generated."""
    if len(labels) == 1:
        return (
            f"Write hf:{model}?fake_index=1 if a high output means AI-generated, or"
            f" hf:{model}?fake_index=0 if it means real; in Python load_detector(...,"
            " fake_index=1)."
        )
    if len(labels) == 2:
        return (
            f"Write hf:{model}?fake_index=0 if it is {labels[0]!r}, or hf:{model}?fake_index=1 if"
            f" it is {labels[1]!r}; in Python load_detector(..., fake_index=0)."
        )
    return (
        f"Name all that mean AI-generated, joined by commas: hf:{model}?fake_labels=LABEL,LABEL; in"
        " Python load_detector(..., fake_labels=[...])."
    )


def _words(label: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", label)]


def _meaning(label: str, others: Sequence[str]) -> str:
    """``fake``, ``real`` or nothing. ``not X`` is the opposite of X where the only other label
    means X.
    """
    words = _words(label)
    if not NEGATIONS & set(words):
        return _plain_meaning(words)
    rest = _plain_meaning(words[1:]) if words[0] in NEGATIONS else ""
    if len(others) != 1 or not rest or _plain_meaning(_words(others[0])) != rest:
        return ""
    return "real" if rest == "fake" else "fake"


def _plain_meaning(words: Sequence[str]) -> str:
    found = set(HUMAN_MADE.sub(r"\1", " ".join(words)).split())
    if found & (HEDGES | NEGATIONS):
        return ""
    fake, real = bool(found & FAKE_WORDS), bool(found & REAL_WORDS)
    weak_fake, weak_real = bool(found & WEAK_FAKE_WORDS), bool(found & WEAK_REAL_WORDS)
    if real and not fake and not weak_fake:
        return "real"
    if fake and not real:
        return "fake"
    if fake or real or weak_fake == weak_real:
        return ""
    return "fake" if weak_fake else "real"


def _pooled(outputs: Tensor, group: Sequence[int]) -> Tensor:
    if not group:
        return outputs.new_zeros(len(outputs))
    return outputs[:, group[0]] if len(group) == 1 else outputs[:, list(group)].logsumexp(dim=1)


def _described(names: Sequence[str]) -> str:
    quoted = ", ".join(repr(name) for name in names)
    return f"logit of {quoted}" if len(names) == 1 else f"log-sum-exp of the logits of {quoted}"
