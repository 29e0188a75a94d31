"""The contract of an attack: the bookkeeping is here, the maths is one file per attack."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, Literal, Self, final

from jaxtyping import Float, Int, Num
from torch import Tensor

from robustbench_aigi.attacks._engine.inputs import batch_of
from robustbench_aigi.attacks._engine.oracle import Oracle, QueryBudgetSpentError
from robustbench_aigi.attacks.result import FRESH_DRAWS, Result
from robustbench_aigi.config.quantity import check_reach, read_fields
from robustbench_aigi.config.relative_size import resolve_sizes
from robustbench_aigi.config.units import L2Radius, LinfRadius, PixelCount, QueryCount
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.freezing import frozen
from robustbench_aigi.detectors._support.placement import device_of
from robustbench_aigi.detectors._support.randomness import is_random, seeded
from robustbench_aigi.errors import BrokenBudgetError, ConfigError, LogitsError, UserError
from robustbench_aigi.imaging.norms import NORM_FUNCTIONS
from robustbench_aigi.imaging.pixels import MAX_LEVEL, on_grid
from robustbench_aigi.io.hashing import Draws, digest
from robustbench_aigi.registry import Registry

Norm = Literal["linf", "l2", "l0"]
"""Name of a norm of a change, as in :class:`Budget`."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most an attack may change and ask; None where it is not bounded.

    Attributes:
        linf: in grey levels.
        l2: in the norm over pixels in [0, 1], or per pixel, such as ``"4 rms"``.
        l0: in pixels, or as a share of them, such as ``"0.1%"``.
        queries: evaluations per image, not counting the clean one.
    """

    linf: LinfRadius | None = None
    l2: L2Radius | None = None
    l0: PixelCount | None = None
    queries: QueryCount | None = None

    def __post_init__(self) -> None:
        read_fields(self, "the budget of an attack")

    def at_size(self, height: int, width: int) -> Self:
        """Return the budget of an image, without sizes per pixel.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.
        """
        return resolve_sizes(self, height, width)

    def check(self, name: str, result: Result) -> None:
        """Raise if a result left the threat model.

        Args:
            name: of the attack, for the message.
            result: what the attack returned.

        Raises:
            BrokenBudgetError: a change is larger than one of the norms allows.
        """
        if self.linf is not None:
            _raise_if_any(result.linf > self.linf, name, "L-inf", self.linf, result.linf)
        if self.l2 is not None:
            most = float(self.l2)
            squares = (result.l2 * MAX_LEVEL).square().round()
            over = squares > (most * MAX_LEVEL) ** 2 + 1e-6
            _raise_if_any(over, name, "L2", most, result.l2)
        if self.l0 is not None:
            _raise_if_any(result.l0 > int(self.l0), name, "L0", int(self.l0), result.l0)


def _raise_if_any(over: Tensor, name: str, norm: str, most: float, achieved: Tensor) -> None:
    if bool(over.any()):
        raise BrokenBudgetError(
            f"{name} broke its {norm} budget of {most:g} on {int(over.sum())} of {len(over)}"
            f" images, up to {achieved.max().item():g}; the attack's numbers must not be used."
            " Report it as a bug."
        )


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack, configured by its fields; a subclass writes :meth:`perturb` and :meth:`budget`.

    A parameter is declared by a type of :mod:`~robustbench_aigi.config.units`, which knows its unit
    and its range.

    Attributes:
        access: what it needs of a detector.
        minimises: for a minimum-norm attack, the norm it makes as small as it can; None for an
            attack that stays in a ball.
        covers_whole_ball: whether it can reach every change of its budget. One that cannot may
            fall behind another attack of the same budget.
        is_single_step: whether it takes its whole budget in one gradient step.
        runs_on_device: whether images, changes and bookkeeping are on the detector's device during
            the attack. Random numbers are drawn on the processor, the same on every device.

    Raises:
        ConfigError: a parameter is of the wrong type, or out of range.
    """

    access: ClassVar[Literal["none", "scores", "gradients"]]
    minimises: ClassVar[Norm | None] = None
    covers_whole_ball: ClassVar[bool] = True
    is_single_step: ClassVar[bool] = False
    runs_on_device: ClassVar[bool] = True

    def at_size(self, height: int, width: int) -> Self:
        """Return the attack with the sizes that are given per pixel turned into those of an image.

        Args:
            height: of the images, in pixels.
            width: of the images, in pixels.

        Raises:
            ConfigError: a size would change nothing in such an image.
        """
        return resolve_sizes(self, height, width)

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
    def seed_name(self) -> str:
        """The name that seeds its random numbers."""
        return self.name

    @property
    def revision(self) -> int:
        """Raised when the same numbers lead to other images: earlier ones are not reused."""
        return 1

    @property
    def starts_from_clean(self) -> bool:
        """Whether it first asks for the gradients of the clean images.

        One pass then gives both these and the clean logits.
        """
        return False

    @property
    def allows_half_gradients(self) -> bool:
        """Whether its gradients, and the scores that come with them, may be approximate.

        A minimum-norm attack walks where the score is 0, and a rounded score misses that.
        """
        return self.access == "gradients" and self.minimises is None

    @property
    def draws_per_candidate(self) -> int:
        """Scores averaged per candidate, where the detector scores at random."""
        return 1

    def by_verdicts(self) -> "Attack | None":
        """Return the attack by verdicts alone in the same threat model, or None.

        It replaces this one for detectors of coarse scores.
        """
        return None

    @abstractmethod
    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Submit candidates for the oracle's images; the oracle keeps the best of each image.

        Args:
            oracle: the counted view of the detector.
            rngs: one random generator per image.
        """

    @abstractmethod
    def budget(self) -> Budget:
        """Return the threat model, which is checked on every result."""

    def most_queries(self, height: int, width: int) -> int | None:
        """Return the maximum number of evaluations per image, or None if it is not bounded.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.
        """
        return self.budget().queries

    @final
    def __call__(
        self,
        detector: Detector,
        images: Num[Tensor, "n 3 h w"],
        labels: Int[Tensor, " n"],
        *,
        ids: Sequence[str] | None = None,
        seed: int = 0,
        full: bool = False,
        clean_logits: Float[Tensor, " n"] | None = None,
    ) -> Result:
        """Attack a batch, each image away from its own label.

        A detector that scores at random (see
        :func:`~robustbench_aigi.detectors._support.randomness.is_random`) is attacked at full
        strength, because a lucky draw would end the attack early, and its final images are scored
        again.

        Args:
            detector: whom to fool.
            images: ``(N, 3, H, W)``: uint8 grey levels, or floats of any size in [0, 1], on the
                8-bit grid.
            labels: ``(N,)``, 1 = AI-generated.
            ids: names that seed the random numbers; "0", "1", ... if None.
            seed: seed of the run.
            full: continue at full strength once the detector is fooled, and attack images it is
                already wrong on.
            clean_logits: float32 ``(N,)``, the detector's logits of ``images``, which saves a pass;
                computed if None.

        Raises:
            UserError: shapes or values are wrong.
            LogitsError: the detector gives no finite logits, or no gradient.
            BrokenBudgetError: the result left the threat model.
        """
        images, labels, names = batch_of(images, labels, ids)
        if clean_logits is not None and clean_logits.shape != labels.shape:
            raise UserError(
                f"{len(labels)} images need as many clean_logits, got {tuple(clean_logits.shape)}."
                " Write clean_logits=detector.logits(images), or leave it out."
            )
        self._check_access(detector)
        device = device_of(detector) if self.runs_on_device else images.device
        images = images.detach().to(device)
        labels = labels.to(device)
        if clean_logits is not None:
            clean_logits = clean_logits.to(device)
        rngs = Draws(seed, self.seed_name, names)
        sized = self.at_size(*images.shape[2:])
        with frozen(detector):
            scores_at_random = is_random(detector, images)
        levels = images.mul(MAX_LEVEL).round_()
        del images  # a photograph takes as much memory as it has values
        if scores_at_random:
            return sized._attack_random(detector, levels, labels, rngs)
        with sized.oracle(detector, levels, labels, full=full, clean_logits=clean_logits) as oracle:
            sized.perturb(oracle, rngs)
        return sized._checked_result(oracle, oracle.logits[None])

    def _check_access(self, detector: Detector) -> None:
        if self.access == "gradients" and detector.card.gradient == "none":
            raise LogitsError(
                f"{self.name} needs gradients, and {detector.card.name} has none (a black box). "
                "Attack it by its scores: square-linf, square-l2, one-pixel."
            )

    def _attack_random(
        self, detector: Detector, levels: Tensor, labels: Tensor, rngs: Draws
    ) -> Result:
        """Attack a detector that scores at random, and draw fresh scores of the final images."""
        state = digest("draws", rngs.seed, self.seed_name, rngs.ids)
        with seeded(int(state[:8], 16)):
            draws = self.draws_per_candidate
            with self.oracle(detector, levels, labels, full=True, draws=draws) as oracle:
                self.perturb(oracle, rngs)
            return self._checked_result(oracle, oracle.fresh_logits(FRESH_DRAWS))

    def _checked_result(self, oracle: Oracle, logits: Tensor) -> Result:
        """Return the result, with ``(K, N)`` logits of the final images; raise if it is invalid."""
        result = Result.of(oracle, logits)
        if not on_grid(result.images):
            raise BrokenBudgetError(
                f"{self.name} left the 8-bit grid; its numbers must not be used. Report it as a"
                " bug."
            )
        self.budget().at_size(*result.images.shape[2:]).check(self.name, result)
        return result

    @final
    @contextmanager
    def oracle(
        self,
        detector: Detector,
        levels: Float[Tensor, "n 3 h w"],
        labels: Int[Tensor, " n"],
        *,
        full: bool,
        clean_logits: Float[Tensor, " n"] | None = None,
        draws: int = 1,
    ) -> Iterator[Oracle]:
        """Yield the oracle for :meth:`perturb`; a spent query budget ends the block.

        Args:
            detector: whom to fool.
            levels: ``(N, 3, H, W)`` in grey levels.
            labels: ``(N,)``, 1 = AI-generated.
            full: attack every image to the end.
            clean_logits: ``(N,)``, where they are known.
            draws: scores averaged per candidate.

        Raises:
            ConfigError: a size is larger than any possible change of such images.
        """
        check_reach(self, self.name, *levels.shape[2:])
        with (
            Oracle(
                detector,
                levels,
                labels,
                full=full,
                distance=None if self.minimises is None else NORM_FUNCTIONS[self.minimises],
                queries=self.budget().queries,
                gradients=self.starts_from_clean,
                clean_logits=clean_logits,
                draws=draws,
            ) as oracle,
            suppress(QueryBudgetSpentError),
        ):
            yield oracle


attacks: Registry[Attack] = Registry("attack", "robustbench_aigi.attacks")
