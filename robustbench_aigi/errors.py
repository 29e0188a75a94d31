"""Errors that this package raises on purpose.

Every message states what was received, what was expected and what to type next.

RobustbenchError                base of all of them
|-- UserError                   the request cannot be met (exit code 2)
|   |-- UnknownNameError        no component, suite or recipe has this name (also a KeyError)
|   |-- ConfigError             a suite, recipe or argument does not fit its schema
|   |-- DataError               a dataset is missing, empty or unreadable
|   |-- CheckpointError         weights do not fit the detector
|   |-- WriteError              the disk is full or cannot be written to
|   |-- WorkersLostError        worker processes were killed again and again
|   |-- UnavailableError        a hub or an optional package is out of reach
|   |-- TrainingCollapsedError  training collapsed to a constant prediction
|   |-- TrainingDivergedError   the training loss became NaN or infinite
|   `-- LogitsError             a detector returned something that is not a finite logit
`-- BrokenBudgetError           an attack left its threat model: a bug, and its numbers are unusable
"""


class RobustbenchError(Exception):
    """Base of the errors that this package raises on purpose."""


class UserError(RobustbenchError):
    """The request cannot be met; the message says how to change it."""


class UnknownNameError(UserError, KeyError):
    """No component, suite or recipe has this name."""

    def __str__(self) -> str:
        return str(self.args[0])


class ConfigError(UserError):
    """A suite, a recipe or an argument does not fit its schema."""


class DataError(UserError):
    """A dataset is missing, empty or unreadable."""


class CheckpointError(UserError):
    """Weights do not fit the detector they were given to."""


class WriteError(UserError):
    """The disk is full, or a folder cannot be written to."""


class WorkersLostError(UserError):
    """Worker processes were killed again and again."""


class UnavailableError(UserError):
    """A hub or an optional package is out of reach."""


class TrainingCollapsedError(UserError):
    """Training collapsed to a constant prediction."""


class TrainingDivergedError(UserError):
    """The training loss became NaN or infinite."""


class LogitsError(UserError):
    """A detector's output is not one finite logit per image, or lacks a gradient where needed."""


class BrokenBudgetError(RobustbenchError):
    """An attack left its threat model. This is a bug of the attack, not of the user's input."""
