"""Which outputs of a classifier mean AI-generated: by the words of its labels, or as given."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from robustbench_aigi.detectors.external.outputs import check_output_spec
from robustbench_aigi.errors import UserError

Meaning = Literal["fake", "real"]

FAKE_WORDS = frozenset(
    """
    fake fakes deepfake deepfakes ai aigc aigen aigenerated artificial synthetic synthetics
    """.split()
)
REAL_WORDS = frozenset(
    "real reals human humans hum nature natural camera authentic authentics genuine".split()
)
WEAK_FAKE_WORDS = frozenset({"generated"})
WEAK_REAL_WORDS = frozenset(
    "photo photos photograph photographs original originals realism".split()
)
"""Words that count only where no stronger word contradicts: an "AI photo" is no photo."""
NEGATION_WORDS = frozenset("no not non".split())
HEDGE_WORDS = frozenset(
    "un anti pseudo semi quasi hyper near partly or vs versus maybe and".split()
)
"""Words with which a label means neither class."""
HUMAN_MADE = re.compile(r"\b(human|humans|hum) (generated|made|created)\b")


class LabelGroups(NamedTuple):
    """Outputs that mean AI-generated, and those that mean real.

    With one output one of the two is empty.
    """

    fake: tuple[int, ...]
    real: tuple[int, ...]

    def logit(self, outputs: Tensor) -> Tensor:
        """Return the log-sum-exp of the AI-generated outputs minus that of the real ones.

        Args:
            outputs: ``(N, K)``.

        Returns:
            Logits ``(N,)``.
        """
        return _pooled(outputs, self.fake) - _pooled(outputs, self.real)

    def describe(self, labels: Mapping[int, str]) -> str:
        """Return the logit in words, for the card.

        Args:
            labels: names of the outputs, by their index.
        """
        if len(labels) == 1:
            high = "AI-generated" if self.fake else "real"
            return f"the only output, {labels[0]!r}: high means {high}"
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

    Example:
        >>> group_labels({0: "artificial", 1: "human"}, "org/repo")
        LabelGroups(fake=(0,), real=(1,))
    """
    if fake_index is not None and fake_labels is not None:
        raise UserError("fake_index and fake_labels were both given. Give one of them.")
    if fake_labels is not None:
        return _given_labels(labels, model, fake_labels)
    if fake_index is not None:
        return _given_index(labels, model, fake_index)
    meanings = {index: _meaning(index, labels) for index in labels}
    fakes = tuple(index for index, meaning in meanings.items() if meaning == "fake")
    reals = tuple(index for index, meaning in meanings.items() if meaning == "real")
    if len(fakes) + len(reals) == len(labels) and (len(labels) == 1 or (fakes and reals)):
        return LabelGroups(fakes, reals)
    raise UserError(
        f"the labels of {model} are {dict(labels)}, and their words do not tell which mean"
        f" AI-generated. {_advice(labels, model)}"
    )


def _given_index(labels: Mapping[int, str], model: str, fake_index: int) -> LabelGroups:
    if len(labels) > 2:
        raise UserError(
            f"{model} has {len(labels)} labels, {', '.join(labels.values())}, and fake_index is for"
            f" one or two. {_advice(labels, model)}"
        )
    check_output_spec(fake_index, "logit")
    if len(labels) == 1:
        return LabelGroups((0,), ()) if fake_index else LabelGroups((), (0,))
    return LabelGroups((fake_index,), (1 - fake_index,))


def _given_labels(labels: Mapping[int, str], model: str, given: Sequence[str] | str) -> LabelGroups:
    if isinstance(given, str):
        given = [given] if given in labels.values() else [name.strip() for name in given.split(",")]
    fakes = {_index_of(name, labels, model) for name in given}
    if not fakes or len(fakes) == len(labels):
        raise UserError(
            f"fake_labels must name some of the labels of {model}, and not all:"
            f" {', '.join(labels.values())}. Got {', '.join(given) or 'none'}."
            f" {_advice(labels, model)}"
        )
    return LabelGroups(tuple(sorted(fakes)), tuple(i for i in sorted(labels) if i not in fakes))


def _index_of(name: str, labels: Mapping[int, str], model: str) -> int:
    """Return the output with a label; upper and lower case are alike where that is unambiguous."""
    found = [i for i, label in labels.items() if label == name]
    if not found:
        found = [i for i, label in labels.items() if label.casefold() == str(name).casefold()]
    if len(found) != 1:
        raise UserError(
            f"{model} has no label {name!r}. Its labels are {', '.join(labels.values())}. Write"
            " one of them."
        )
    return found[0]


def _advice(labels: Mapping[int, str], model: str) -> str:
    """Return what to write, where it is not known which labels mean AI-generated."""
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


def _meaning(index: int, labels: Mapping[int, str]) -> Meaning | None:
    """Return what a label means; None if its words do not tell.

    ``not X`` is the opposite of X where the only other label means X.
    """
    words = _words(labels[index])
    if not NEGATION_WORDS & set(words):
        return _plain_meaning(words)
    others = [label for i, label in labels.items() if i != index]
    if words[0] not in NEGATION_WORDS or len(others) != 1:
        return None
    opposite = _plain_meaning(words[1:])
    if opposite is None or _plain_meaning(_words(others[0])) != opposite:
        return None
    return "real" if opposite == "fake" else "fake"


def _plain_meaning(words: Sequence[str]) -> Meaning | None:
    """Return what the words of a label without a negation mean; None if they do not tell."""
    found = set(HUMAN_MADE.sub(r"\1", " ".join(words)).split())
    if found & (HEDGE_WORDS | NEGATION_WORDS):
        return None
    has_fake = bool(found & FAKE_WORDS)
    has_real = bool(found & REAL_WORDS)
    has_weak_fake = bool(found & WEAK_FAKE_WORDS)
    has_weak_real = bool(found & WEAK_REAL_WORDS)
    if has_real and not has_fake and not has_weak_fake:
        return "real"
    if has_fake and not has_real:
        return "fake"
    if has_fake or has_real or has_weak_fake == has_weak_real:
        return None
    return "fake" if has_weak_fake else "real"


def _pooled(outputs: Tensor, group: Sequence[int]) -> Tensor:
    if not group:
        return outputs.new_zeros(len(outputs))
    return outputs[:, group[0]] if len(group) == 1 else outputs[:, list(group)].logsumexp(dim=1)


def _described(names: Sequence[str]) -> str:
    quoted = ", ".join(repr(name) for name in names)
    return f"logit of {quoted}" if len(names) == 1 else f"log-sum-exp of the logits of {quoted}"
