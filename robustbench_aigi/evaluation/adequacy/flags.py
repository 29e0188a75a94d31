"""The kinds of flags: reasons to distrust a number that looks robust, each with its evidence.

Sources: Athalye, Carlini & Wagner, Obfuscated Gradients, ICML 2018; Carlini et al., On Evaluating
Adversarial Robustness, 2019; Pintor et al., Indicators of Attack Failure, NeurIPS 2022.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from scipy.stats import binomtest

from robustbench_aigi.evaluation.cells import CellTable
from robustbench_aigi.evaluation.intervals import wilson
from robustbench_aigi.evaluation.metrics import shares_right
from robustbench_aigi.outcomes import Absent, Failed

P_SIGNIFICANT = 0.01
FALLING_SHARE = 0.1
"""Share of the margin's whole fall that may be left to as many steps again."""
SAME_LOGIT = 1e-3
"""Difference of two logits, relative above 1, that is attributed to floating point."""


@dataclass(frozen=True, order=True)
class Flag:
    """A reason to distrust a number.

    Attributes:
        detector, attack: as in the matrix; ``attack`` is "" if the detector as a whole is meant.
        kind: such as ``zero-gradient``. message: one sentence. evidence: the numbers behind it.
        mode: of the cells meant, where those are not the attacks on the detector itself.
    """

    detector: str
    attack: str
    kind: str
    message: str
    evidence: Mapping[str, float] = field(default_factory=dict, compare=False)
    mode: str = ""


def crashed(detector: str, attack: str, tables: Mapping[str, CellTable]) -> Flag | None:
    """``crashed``: of these tables some are errors."""
    errors = {name: table for name, table in tables.items() if isinstance(table, Failed)}
    if not errors:
        return None
    text = str(next(iter(errors.values())))
    message = (
        text
        if len(tables) == 1
        else f"{len(errors)} of {len(tables)} probes crashed: {', '.join(errors)}; {text}"
    )
    return Flag(
        detector, attack, "crashed", message, {"crashed": len(errors), "tried": len(tables)}
    )


def weaker(
    detector: str, attack: str, kind: str, own: tuple[str, CellTable], other: tuple[str, CellTable]
) -> Flag | None:
    """Flag an attack that fools fewer of the same images than another, beyond chance.

    The test is McNemar's, exact and one-sided, at 0.01.

    Args:
        detector: its name.
        attack: id of the attack's row.
        kind: of the flag: ``weaker-than-...`` or ``...-not-monotone``.
        own: description and table of the attack.
        other: of the other one.
    """
    if isinstance(own[1], Absent) or isinstance(other[1], Absent):
        return None
    mine, others = (
        own[1].set_index("id")["fooled"].align(other[1].set_index("id")["fooled"], join="inner")
    )
    more = int((others & ~mine).sum())
    fewer = int((mine & ~others).sum())
    p = float(binomtest(more, more + fewer, alternative="greater").pvalue) if more else 1.0
    if p >= P_SIGNIFICANT:
        return None
    accuracy = float((~mine).mean())
    less = float((~others).mean())
    message = (
        f"Under {own[0]} {accuracy:.1%} of {len(mine)} images are classified correctly, under"
        f" {other[0]} {less:.1%} (one-sided exact McNemar test, p = {p:.1g})."
    )
    return Flag(
        detector,
        attack,
        kind,
        message,
        {"images": len(mine), "accuracy": accuracy, "other": less, "p": p},
    )


def zero_gradient(detector: str, gradient: CellTable) -> Flag | None:
    """Flag a gradient that is zero, NaN or infinite on some clean image (``zero-gradient``).

    Args:
        detector: its name.
        gradient: table of the probe ``gradient``.
    """
    if isinstance(gradient, Absent):
        return None
    zero = int((gradient["max_abs_gradient"] == 0).sum())
    odd = int(gradient["max_abs_gradient"].isna().sum())
    if not zero + odd:
        return None
    message = (
        f"On {zero + odd} of {len(gradient)} images the gradient is zero ({zero}) or not finite"
        f" ({odd}): an attack by gradients is blind there."
    )
    return Flag(
        detector,
        "",
        "zero-gradient",
        message,
        {"images": len(gradient), "zero": zero, "not_finite": odd},
    )


def eps_zero_not_clean(detector: str, clean: CellTable, zero: CellTable) -> Flag | None:
    """Flag an attack with an empty budget that changes logits (``eps-zero-not-clean``).

    Args:
        detector: its name.
        clean: table of the clean cell.
        zero: table of the probe with eps 0.
    """
    if isinstance(clean, Absent) or isinstance(zero, Absent):
        return None
    before = clean.set_index("id")["logit"].reindex(zero["id"]).to_numpy()
    change = (zero["logit"] - before).abs()
    differ = int((change > SAME_LOGIT * zero["logit"].abs().clip(lower=1)).sum())
    if not differ:
        return None
    message = (
        f"At eps 0 the logits of {differ} of {len(zero)} images differ from the clean ones, by up"
        f" to {change.max():.2g}: the detector is random, or looks at more than the image."
    )
    return Flag(
        detector,
        "",
        "eps-zero-not-clean",
        message,
        {"images": len(zero), "differ": differ, "most": change.max()},
    )


def huge_eps_not_zero(detector: str, tables: Sequence[CellTable]) -> Flag | None:
    """Flag images that survive at eps 255, where any image is allowed (``huge-eps-not-zero``).

    Args:
        detector: its name.
        tables: of the probes of rising eps, the last one at 255.
    """
    ready = [table.set_index("id")["fooled"] for table in tables if isinstance(table, pd.DataFrame)]
    if len(ready) < len(tables):
        return None
    fooled = pd.concat(ready, axis=1).any(axis=1)
    left = int((~fooled).sum())
    if not left:
        return None
    message = (
        f"At eps 255, where any image is allowed, {left} of {len(fooled)} images are still"
        " classified correctly."
    )
    return Flag(detector, "", "huge-eps-not-zero", message, {"images": len(fooled), "left": left})


def not_converged(
    detector: str, attack: str, threshold: float, steps: int, own: CellTable, double: CellTable
) -> Flag | None:
    """Flag an attack whose loss still rises at its last step (``not-converged``).

    Args:
        detector: its name.
        attack: id of the probed row.
        threshold: of the detector, a logit.
        steps: of the attack.
        own: table of the attack.
        double: table of the attack with twice the steps.
    """
    if isinstance(own, Absent) or isinstance(double, Absent):
        return None
    sign = 2 * own["label"] - 1
    # A margin below zero is a fooled image: the attack is done with it, whatever its loss.
    start, middle, end = (
        float(((logit - threshold) * sign).clip(lower=0).mean())
        for logit in (own["clean_logit"], own["logit"], double["logit"])
    )
    if middle - end <= FALLING_SHARE * (start - end):
        return None
    message = (
        f"The mean margin falls from {start:.3g} to {middle:.3g} in {steps} steps and to {end:.3g}"
        f" in {2 * steps}: the attack stops before it is done."
    )
    return Flag(
        detector, attack, "not-converged", message, {"start": start, "steps": middle, "double": end}
    )


def unchanged(detector: str, attack: str, own: CellTable, mode: str = "") -> Flag | None:
    """Flag an attack that changed no image (``unchanged``).

    Args:
        detector: its name.
        attack: id of the row.
        own: table of the attack.
        mode: ``static`` for a shared set, else empty.
    """
    if isinstance(own, Absent):
        return None
    attacked = own if mode == "static" else own[~own["kept"] | (own["linf"] > 0)]
    if attacked.empty or int(attacked["linf"].max()) > 0:
        return None
    message = (
        f"Not one of {len(attacked)} images was changed: the attack found nothing to try, or its"
        " budget is below one grey level. The accuracy is that of the clean images."
    )
    return Flag(
        detector, attack, "unchanged", message, {"images": len(attacked), "changed": 0}, mode
    )


def kept_not_fresh(
    detector: str, attack: str, own: CellTable, control: CellTable | None = None
) -> Flag | None:
    """Flag a search that saw more success than fresh scores confirm (``kept-not-fresh``).

    Args:
        detector: its name.
        attack: id of the row.
        own: table of the attack.
        control: table of the same attack with as many queries at eps 0, where there is one.
    """
    if isinstance(own, Absent) or int(own["draws"].max()) == 1:
        return None
    n = len(own)
    kept = float((~own["kept"]).sum())
    fresh = float(shares_right(own).sum())
    if wilson(kept, n)[1] >= wilson(fresh, n)[0]:
        return None
    evidence = {"images": n, "kept": kept / n, "fresh": fresh / n}
    message = (
        f"The search itself saw {kept / n:.1%} of {n} images classified correctly, scores drawn"
        f" afterwards {fresh / n:.1%}: the detector draws at random, and the search kept its"
        " luckiest draws. The matrix has the latter."
    )
    if isinstance(control, pd.DataFrame):
        evidence["control"] = float((~control["kept"]).mean())
        message += (
            f" With as many queries and nothing changed (eps 0) it saw {evidence['control']:.1%}."
        )
    return Flag(detector, attack, "kept-not-fresh", message, evidence)
