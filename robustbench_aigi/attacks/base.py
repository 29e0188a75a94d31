"""The contract of an attack. The bookkeeping is here, once; the maths is one file an attack."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.batching import changed
from robustbench_aigi.attacks._engine.inputs import batch_of, check_pixels
from robustbench_aigi.attacks._engine.oracle import Oracle, QueryBudgetSpentError, frozen
from robustbench_aigi.config.quantity import check_reach, read_fields
from robustbench_aigi.config.units import L2Radius, LinfRadius, PixelCount, QueryCount
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.randomness import is_random, seeded
from robustbench_aigi.errors import BrokenBudgetError, ConfigError, LogitsError, UserError
from robustbench_aigi.imaging.norms import NORMS, norms
from robustbench_aigi.imaging.pixels import LEVELS, on_grid
from robustbench_aigi.io.hashing import Draws, digest
from robustbench_aigi.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most an attack may change, and ask.

    ``linf`` in grey levels, ``l2`` in the [0, 1]-pixel norm, ``l0`` in pixels; ``queries`` are
    evaluations of an image, the clean one aside.
    """

    linf: LinfRadius | None = None
    l2: L2Radius | None = None
    l0: PixelCount | None = None
    queries: QueryCount | None = None

    def __post_init__(self) -> None:
        read_fields(self, "the budget of an attack")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an attack did, a row an image.

    Of a detector that scores at random, ``fooled`` and ``logits`` are those of a score drawn after
    the attack: what the search saw itself is the luckiest of many draws.

    Attributes:
        images: ``(N, 3, H, W)`` in [0, 1], on the 8-bit grid.
        fooled: whether the detector is wrong on the returned image (also where it was wrong on the
        clean one). clean_logits, logits: before and after. linf: achieved, whole grey levels. l2:
        achieved, [0, 1]-pixel norm. l0: changed pixels. forwards, backwards: passes spent, that for
        the clean logits among them. fresh: bool ``(K, N)``, whether each of K scores drawn after
        the attack is wrong; one row, ``fooled``, of a
            detector that does not draw.
        kept: bool ``(N,)``, whether the detector was wrong when the search met the returned image.
    """

    images: Tensor
    fooled: Tensor
    clean_logits: Tensor
    logits: Tensor
    linf: Tensor
    l2: Tensor
    l0: Tensor
    forwards: Tensor
    backwards: Tensor
    fresh: Tensor
    kept: Tensor


FRESH_DRAWS = 11
"""Scores drawn of each final image of a detector that scores at random; odd, so that a majority is
one.
"""


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack; its fields are its configuration. A subclass writes :meth:`perturb` and states its
    :meth:`budget`.

    Attributes:
        access: what it needs of a detector.
        seeks: the norm whose smallest value it looks for ("linf", "l2" or "l0"), if it has no ball
            to stay in.

    A number is declared by a type of :mod:`~robustbench_aigi.config.units`, which knows its unit
    and its range.

    Raises:
        ConfigError: a number or a word is of the wrong type, or out of range.
    """

    access: ClassVar[Literal["none", "scores", "gradients"]]
    minimises: ClassVar[Literal["", "linf", "l2", "l0"]] = ""

    def __post_init__(self) -> None:
        read_fields(self, self.name)
        for field in fields(self):
            default = field.default if field.default_factory is MISSING else field.default_factory()
            given = getattr(self, field.name)
            if isinstance(default, str | bool | dict) and not isinstance(given, type(default)):
                raise ConfigError(
                    f"{self.name} wants {field.name} of type {type(default).__name__}, got"
                    f" {given!r}. Its default is {default!r}."
                )

    @property
    def name(self) -> str:
        """The registered name."""
        return attacks.name_of(type(self))

    @property
    def starts_from_clean(self) -> bool:
        """Whether it first asks for the slopes of the clean images: one pass then gives these and
        the clean logits.
        """
        return False

    @property
    def averaged(self) -> int:
        """Scores averaged at each step, where the detector scores at random."""
        return 1

    def by_verdicts(self) -> "Attack | None":
        """The attack by verdicts alone in the same threat model, for detectors of coarse scores;
        else None.
        """
        return None

    @abstractmethod
    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Show candidates for ``oracle.images`` to the oracle, which keeps the best. ``rngs``: one
        an image.
        """

    @abstractmethod
    def budget(self) -> Budget:
        """The threat model, checked on every result."""

    def most_queries(self, height: int, width: int) -> int | None:
        """The most evaluations of an image of that size, the clean one aside; None if nothing
        bounds them.
        """
        return self.budget().queries

    @final
    def __call__(
        self,
        detector: Detector,
        images: Tensor,
        labels: Tensor,
        *,
        ids: Sequence[str] | None = None,
        seed: int = 0,
        full: bool = False,
        clean_logits: Tensor | None = None,
    ) -> Result:
        """Attack a batch, each image away from its own label.

        A detector that scores at random (see
        :func:`~robustbench_aigi.detectors._support.randomness.is_random`) is attacked at full
        strength, because a lucky draw would end the attack early, and its final images are scored
        again.

        Args:
            images: ``(N, 3, H, W)``: uint8 grey levels, or floats of any size in [0, 1], on the
                8-bit grid.
            labels: ``(N,)``, 1 = AI-generated.
            ids: names that seed the random numbers; "0", "1", ... if None.
            full: go on at full strength after the detector is fooled, and attack images it is wrong
                on already.
            clean_logits: float32 ``(N,)``, the detector's for ``images``, which spare a pass; asked
                for if None.

        Raises:
            UserError: shapes or values are off. LogitsError: the detector gives no finite logits,
                or no slope.
            BrokenBudgetError: the result left the threat model.
        """
        images, labels, names = batch_of(images, labels, ids)
        if clean_logits is not None and clean_logits.shape != labels.shape:
            raise UserError(
                f"{len(labels)} images need as many clean_logits, got {tuple(clean_logits.shape)}."
            )
        levels = images.detach().mul(LEVELS).round()
        if self.access == "gradients" and detector.card.gradient == "none":
            raise LogitsError(
                f"{self.name} needs gradients, and {detector.card.name} has none (a black box). "
                "Attack it by its scores: square-linf, square-l2, one-pixel."
            )
        with frozen(detector):
            draws_at_random = is_random(detector, images)
        if not draws_at_random:
            with self.oracle(
                detector, levels, labels, full=full, clean_logits=clean_logits
            ) as oracle:
                self.perturb(oracle, Draws(seed, self.name, names))
            return _result(oracle, self.budget(), self.name, oracle.logits[None])
        with seeded(int(digest("draws", seed, self.name, names)[:8], 16)):
            with self.oracle(detector, levels, labels, full=True, draws=self.averaged) as oracle:
                self.perturb(oracle, Draws(seed, self.name, names))
            return _result(oracle, self.budget(), self.name, oracle.fresh_logits(FRESH_DRAWS))

    @final
    @contextmanager
    def oracle(
        self,
        detector: Detector,
        levels: Tensor,
        labels: Tensor,
        *,
        full: bool,
        clean_logits: Tensor | None = None,
        draws: int = 1,
    ) -> Iterator[Oracle]:
        """The oracle that :meth:`perturb` runs on: it keeps what the attack seeks; a spent query
        budget ends the run.

        Args:
            levels: ``(N, 3, H, W)`` in grey levels. draws: scores averaged for each candidate.

        Raises:
            ConfigError: a size is larger than any change of images of theirs.
        """
        check_reach(self, self.name, *levels.shape[2:])
        distance, queries = NORMS.get(self.minimises), self.budget().queries
        with (
            Oracle(
                detector,
                levels,
                labels,
                full=full,
                distance=distance,
                queries=queries,
                gradients=self.starts_from_clean,
                clean_logits=clean_logits,
                draws=draws,
            ) as oracle,
            suppress(QueryBudgetSpentError),
        ):
            yield oracle


@dataclass(frozen=True, kw_only=True)
class Perturbation(Attack):
    """A change that asks no detector: a subclass writes :meth:`change`, an image at a time.

    Attributes:
        severities: number to its five values, mildest first: what ``load_attack(name, severity=3)``
            fills in.
    """

    access = "none"
    severities: ClassVar[Mapping[str, tuple[Any, ...]]] = MappingProxyType({})

    def budget(self) -> Budget:
        """None: what happens to images outside the laboratory keeps no norm."""
        return Budget()

    @abstractmethod
    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Change one image, uint8 grey levels ``(3, H, W)`` to the same shape in any type; rounding
        is done for you.
        """

    def change_all(
        self, images: Tensor, rngs: Iterator[torch.Generator], room: Tensor | None = None
    ) -> Tensor:
        """Change ``(N, 3, H, W)`` uint8 grey levels, any part of a batch; rewrite it where one by
        one is slow.

        The result may be written to ``room``, memory like that of ``images``: it saves a copy of
            large ones.
        """
        new = [self.change(image, rng).numpy() for image, rng in zip(images, rngs, strict=True)]
        return torch.from_numpy(np.stack(new))

    @final
    def apply(self, images: Tensor, ids: Sequence[str], seed: int = 0) -> Tensor:
        """Change ``(N, 3, H, W)`` images: floats in [0, 1] to float32, or uint8 grey levels to the
        same.

        The result for an image is the same in any batch on any machine. Raises ``UserError`` for
        images of another type, shape or range, and for too few ids.
        """
        check_pixels(images)
        if len(ids) != len(images):
            raise UserError(f"{len(images)} images need as many ids, got {len(ids)}.")
        given = images if images.dtype == torch.uint8 else images.float()
        return changed(self.change_all, given, 1, Draws(seed, self.name, ids))

    @final
    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Score the changed images; unlike an attack's, they replace the clean ones even where they
        fool nobody.
        """
        oracle.replace(changed(self.change_all, oracle.images, LEVELS, rngs))


attacks: Registry[Attack] = Registry("attack", "robustbench_aigi.attacks")


def _result(oracle: Oracle, budget: Budget, name: str, logits: Tensor) -> Result:
    """What an attack did. ``logits``: ``(K, N)`` of the final images, as they are scored after the
    attack.
    """
    linf, l2, l0 = norms(oracle.best, oracle.images)
    if not on_grid(oracle.best / LEVELS):
        raise BrokenBudgetError(
            f"{name} left the 8-bit grid; its numbers must not be used. Report it as a bug."
        )
    squares = (l2 * LEVELS).square().round()
    for norm, got, most in (
        ("L-inf", linf, budget.linf),
        ("L2", l2, budget.l2),
        ("L0", l0, budget.l0),
    ):
        if most is None:
            continue
        over = squares > (most * LEVELS) ** 2 + 1e-6 if norm == "L2" else got > most
        if bool(over.any()):
            raise BrokenBudgetError(
                f"{name} broke its {norm} budget of {most:g} on {int(over.sum())} of {len(over)}"
                f" images, up to {got.max().item():g}; the attack's numbers must not be used."
                " Report it as a bug."
            )
    return Result(
        images=oracle.best / LEVELS,
        fooled=oracle.wrong(logits[0]),
        clean_logits=oracle.clean_logits,
        logits=logits[0],
        linf=linf,
        l2=l2,
        l0=l0,
        forwards=oracle.forwards,
        backwards=oracle.backwards,
        fresh=torch.stack([oracle.wrong(row) for row in logits]),
        kept=oracle.fooled,
    )
