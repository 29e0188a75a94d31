"""Models in files whose kinds plug-ins can add to."""

from abc import ABC, abstractmethod
from typing import Any, Self

from pydantic import BaseModel, ModelWrapValidatorHandler, model_validator


class OpenModel(BaseModel, ABC):
    """A model whose content says which subclass it is, where the subclasses are not known here.

    Use the base class as the type of a field: pydantic then reads the subclass that
    :meth:`model_for` returns, and :func:`~robustbench_aigi.config.errors.describe_faults` speaks of
    the keys of that subclass alone.
    """

    @classmethod
    @abstractmethod
    def model_for(cls, given: object) -> type[Self]:
        """Return the subclass that ``given`` is to be read as; a subclass returns itself.

        Args:
            given: what stands in the file.

        Raises:
            ValueError: there is no such subclass; a ``ValidationError`` may name the key.
        """

    @model_validator(mode="wrap")
    @classmethod
    def _read_as_subclass(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(given, cls):
            return given
        model = cls.model_for(given)
        return handler(given) if model is cls else model.model_validate(given)
